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
    from pg8000.native import Connection

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
        "INSERT INTO meuse_waiting SELECT stream, seq, type, received_ms, decode(record, 'hex'), why, :now, device,"
        " tenant, site FROM unnest(CAST(:streams AS bigint[]), CAST(:seqs AS bigint[]), CAST(:kinds AS integer[]),"
        " CAST(:received AS bigint[]), CAST(:records AS text[]), CAST(:whys AS text[]), CAST(:devices AS text[]),"
        " CAST(:tenants AS text[]), CAST(:sites AS text[]))"
        " AS w(stream, seq, type, received_ms, record, why, device, tenant, site) ON CONFLICT DO NOTHING",
        now=now_ms,
        streams=[stored.stream for stored, _, _ in rows],
        seqs=[stored.seq for stored, _, _ in rows],
        kinds=[stored.type for stored, _, _ in rows],
        received=[stored.received_ms for stored, _, _ in rows],
        records=[stored.record.hex() for stored, _, _ in rows],
        whys=[why for _, why, _ in rows],
        devices=[origin.device for _, _, origin in rows],
        tenants=[origin.tenant for _, _, origin in rows],
        sites=[origin.site for _, _, origin in rows],
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
        " WHERE stream = :of AND why = :why AND seq > :after ORDER BY seq LIMIT :step FOR UPDATE SKIP LOCKED",
        of=stream,
        why=why,
        after=after_seq,
        step=STEP,
    )
    return [
        Waiting(Stored(row[1], row[0], row[1], row[2], row[3], row[4]), row[5], row[6], Origin(*row[7:]))
        for row in rows
    ]


def remove(db: "Connection", stream: int, seqs: list[int]) -> None:
    """Part of the transaction that writes their rows."""
    db.run(
        "DELETE FROM meuse_waiting WHERE stream = :of AND seq = ANY(CAST(:seqs AS bigint[]))",
        of=stream,
        seqs=seqs,
    )
