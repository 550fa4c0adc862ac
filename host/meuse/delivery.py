"""Records on their way out of the journal, with where they come from: what stores and workers are handed.

Bounded: `take` ends with the record that makes it too large.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meuse.catalog import Origin
from meuse.decode import Stored
from meuse.journal.sql import Database

# One delivery is one transaction of a store: large enough that its commit does not count, small enough that its rows
# (up to a value per byte or two) stay below 100 MB in memory.
MOST_RECORDS: Final = 4_000
MOST_BYTES: Final = 256 * 1024


class Delivery(NamedTuple):
    """Records in the order of the journal; `origins` knows each of their streams that belongs to a device."""

    records: list[Stored]
    origins: dict[int, Origin]


def take(
    db: Database, after: int, most_records: int = MOST_RECORDS, most_bytes: int = MOST_BYTES
) -> Delivery:
    """The next records behind the id `after`; none when there are none."""
    rows = db.execute(
        "SELECT id, stream, seq, type, received_ms, record FROM records WHERE id > ? ORDER BY id LIMIT ?",
        (after, most_records),
    )
    records: list[Stored] = []
    size = 0
    for row in rows.fetchall():
        if size > most_bytes:
            break
        records.append(Stored(*row))
        size += len(records[-1].record)
    return Delivery(records, origins(db, {one.stream for one in records}))


def origins(db: Database, streams: Iterable[int]) -> dict[int, Origin]:
    """Device, tenant and site of each stream, as they are now."""
    found: dict[int, Origin] = {}
    for stream in streams:
        row = db.execute(
            "SELECT streams.device, coalesce(tenant, 'default'), coalesce(site, 'default')"
            " FROM streams LEFT JOIN devices ON devices.device = streams.device WHERE stream = ?",
            (stream,),
        ).fetchone()
        if row is not None:
            found[stream] = Origin(*row)
    return found
