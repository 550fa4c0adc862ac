"""What stands around the readings: devices, boots, schemas, events, and the gaps that are still open."""

from collections.abc import Sequence
from typing import Final

from meuse_protocol import names
from meuse_protocol.received import RangeSet

from meuse.catalog import Facts
from meuse.journal.sql import Database
from meuse.query.small import INTEGER, TEXT, TIME, Columns

Rows = list[tuple[object, ...]]

DEVICES: Final[Columns] = {
    "device": TEXT,
    "tenant": TEXT,
    "site": TEXT,
    "stream": INTEGER,
    "bound_at": TIME,
    "closed_at": TIME,
    "next_seq": INTEGER,
    "records": INTEGER,
}
BOOTS: Final[Columns] = {
    "device": TEXT,
    "stream": INTEGER,
    "boot": INTEGER,
    "cause": TEXT,
    "firmware": TEXT,
    "seq": INTEGER,
    "received_at": TIME,
}
SCHEMAS: Final[Columns] = {
    "device": TEXT,
    "stream": INTEGER,
    "schema_id": INTEGER,
    "name": TEXT,
    "tick_ms": INTEGER,
    "channel": TEXT,
    "unit": TEXT,
    "exp10": INTEGER,
    "flags": INTEGER,
}
GAPS: Final[Columns] = {
    "device": TEXT,
    "stream": INTEGER,
    "first_seq": INTEGER,
    "last_seq": INTEGER,
    "records": INTEGER,
    "reason": TEXT,
    "source": TEXT,
    "recorded_at": TIME,
}

EVENTS: Final[Columns] = {
    "happened_at": TIME,
    "device": TEXT,
    "kind": TEXT,
    "detail": TEXT,
}

# A seq that nobody has announced as lost and nobody has seen: it may be on its way.
AWAITED: Final = "awaited"
_LAST_SEQ: Final = 0xFFFFFFFF


def devices(db: Database) -> Rows:
    """One row per stream, and one for each device that has none yet."""
    rows: Rows = []
    for row in db.execute(
        "SELECT device, coalesce(tenant, 'default'), coalesce(site, 'default'), stream, bound_ms,"
        " closed_ms, next_seq, received"
        " FROM (SELECT device FROM devices UNION SELECT device FROM streams) AS known"
        " LEFT JOIN devices USING (device) LEFT JOIN streams USING (device)"
        " ORDER BY device, bound_ms"
    ):
        received = row[-1]
        records = None if received is None else _count(_set(received))
        rows.append((*row[:-1], records))
    return rows


def boots(facts: Facts) -> Rows:
    """One row per start of a board."""
    return sorted(
        (
            facts.origin(row.stream).device,
            row.stream,
            row.boot,
            word(names.BOOT_CAUSES, row.cause),
            row.firmware,
            row.seq,
            row.received_ms,
        )
        for row in facts.boots.values()
    )


def word(words: Sequence[str], code: int) -> str:
    """The code's name as one word; its number where this host knows no name."""
    word = words[code] if 0 <= code < len(words) else ""
    return word.replace(" ", "_") or f"code_{code}"


def schemas(facts: Facts) -> Rows:
    """One row per channel of every schema."""
    return sorted(
        (facts.origin(stream).device, stream, sid, found.name, found.tick_ms, *channel)
        for (stream, sid), found in facts.schemas.items()
        for channel in found.channels
    )


def gaps(db: Database) -> Rows:
    """What is missing: announced gaps less what came all the same, then what is still awaited.

    No seq stands in two rows; last_seq and records are None where nobody knows the end.
    """
    rows: Rows = []
    for stream, device, blob in db.execute(
        "SELECT stream, device, received FROM streams ORDER BY device, bound_ms"
    ).fetchall():
        covered = _set(blob)
        last = covered.last()
        announced = db.execute(
            "SELECT first_seq, last_seq, reason, source, recorded_ms FROM gaps"
            " WHERE stream = ? ORDER BY recorded_ms, first_seq",
            (stream,),
        )
        for first_seq, last_seq, reason, source, recorded_ms in announced:
            name = word(names.GAP_REASONS, reason)
            for first, end in covered.missing(first_seq, last_seq):
                row = (device, stream, *_ends(first, end), name, source, recorded_ms)
                rows.append(row)
            covered.add_range(first_seq, last_seq)
        for first, end in covered.missing(1, last) if last else []:
            rows.append((device, stream, *_ends(first, end), AWAITED, "", None))
    return rows


def events(db: Database) -> Rows:
    """What happened, oldest first: links, boots of the host, trouble, what boards say; device may be empty."""
    return db.execute("SELECT at_ms, device, kind, detail FROM events ORDER BY id").fetchall()


def _set(blob: bytes) -> RangeSet:
    found: RangeSet = RangeSet.from_bytes(blob)
    return found


def _count(numbers: RangeSet) -> int:
    return sum(last - first + 1 for first, last in numbers.ranges())


def _ends(first: int, last: int) -> tuple[int, int | None, int | None]:
    if last == _LAST_SEQ:
        return first, None, None
    return first, last, last - first + 1
