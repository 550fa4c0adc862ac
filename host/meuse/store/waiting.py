"""Records that cannot be read or dated yet: owns the table meuse_waiting.

The lake has `parked` for them. These lie in PostgreSQL, so that the journal may forget them and any worker may take
them up.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from meuse.catalog import Facts, Origin
from meuse.decode import Stored
from meuse.lake import parked

if TYPE_CHECKING:
    from meuse.store.connection import Connection

CREATE: Final = (
    """CREATE TABLE IF NOT EXISTS meuse_waiting(
        stream bigint, seq bigint, type integer NOT NULL, received_ms bigint NOT NULL, record bytea NOT NULL,
        why text NOT NULL, since_ms bigint NOT NULL, device text NOT NULL, tenant text NOT NULL, site text NOT NULL,
        PRIMARY KEY(stream, seq))""",
)

# One step is one transaction.
STEP: Final = 1_000


class Waiting(NamedTuple):
    stored: Stored
    why: str
    since_ms: int
    origin: Origin


def add(db: "Connection", found: Iterable[tuple[Stored, str]], facts: Facts, now_ms: int) -> None:
    """Part of the caller's transaction; what waits already, waits on."""
    rows = [(stored, why, facts.origin(stored.stream)) for stored, why in found]
    if not rows:
        return
    db.run(
        "INSERT INTO meuse_waiting SELECT w.stream, w.seq, w.type, w.received_ms, w.record, w.why, $1::bigint,"
        " w.device, w.tenant, w.site FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bytea[],"
        " $7::text[], $8::text[], $9::text[], $10::text[])"
        " AS w(stream, seq, type, received_ms, record, why, device, tenant, site) ON CONFLICT DO NOTHING",
        now_ms,
        *zip(*((*stored[1:], why, *origin) for stored, why, origin in rows), strict=True),
    )


def groups(db: "Connection") -> list[tuple[int, str, int]]:
    """(stream, why, since when the first of them waits)."""
    return [
        (stream, why, since_ms)
        for stream, why, since_ms in db.run("SELECT stream, why, min(since_ms) FROM meuse_waiting GROUP BY stream, why")
    ]


def may_end(facts: Facts, stream: int, why: str) -> bool:
    """Whether anything has come that may end the waiting; cheap, and wrong on one side only."""
    return parked.may_resolve(facts, stream, why)


def take(db: "Connection", stream: int, why: str, after_seq: int) -> list[Waiting]:
    """The next of a group, for this transaction alone: what another worker is about to write is passed over."""
    rows = db.run(
        "SELECT stream, seq, type, received_ms, record, why, since_ms, device, tenant, site FROM meuse_waiting"
        " WHERE stream = $1 AND why = $2 AND seq > $3 ORDER BY seq LIMIT $4 FOR UPDATE SKIP LOCKED",
        stream,
        why,
        after_seq,
        STEP,
    )
    return [
        Waiting(Stored(row[1], row[0], row[1], row[2], row[3], row[4]), row[5], row[6], Origin(*row[7:]))
        for row in rows
    ]


def remove(db: "Connection", stream: int, seqs: list[int]) -> None:
    """Part of the transaction that writes their rows."""
    db.run("DELETE FROM meuse_waiting WHERE stream = $1 AND seq = ANY($2::bigint[])", stream, seqs)
