"""Records that wait: for their schema, or for an anchor that dates them. Owns the table `parked`.

A parked record stays in the journal until a file holds it. It goes into the next file once its
schema or anchor has come, or after 7 days as it stands: dated by receipt, or unread as text.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meuse import dating, decode
from meuse.catalog import Facts
from meuse.decode import Block, Stored
from meuse.journal.sql import Database
from meuse.lake.policy import Policy
from meuse.readings import Readings


class Waiting(NamedTuple):
    record_id: int
    why: str


_SELECT: Final = "SELECT id, stream, seq, type, received_ms, record FROM parked JOIN records ON id = record_id WHERE "


def reason(block: Block) -> str:
    """`schema:<id>` or `clock:<boot>`: with the stream, what has to come before it can be read."""
    if block.waits == decode.NO_SCHEMA:
        return f"schema:{block.sid}"
    return f"clock:{'' if block.boot is None else block.boot}"


def resolve(db: Database, readings: Readings, facts: Facts, policy: Policy, now_ms: int) -> list[int]:
    """Add what need not wait any longer to `readings`; returns the ids of those records.

    Stops when the file is full; the rest goes into the next one.
    """
    before_ms = now_ms - policy.parked_ms
    late: list[Block] = []
    ids: list[int] = []
    groups = db.execute(
        "SELECT stream, why, min(since_ms) FROM parked JOIN records ON id = record_id"
        " WHERE file IS NULL GROUP BY stream, why"
    ).fetchall()
    for stream, why, since_ms in groups:
        if not may_resolve(facts, stream, why) and since_ms > before_ms:
            continue
        expired = _ids(db, stream, why, before_ms)
        for stored in _stored(db, "stream = ? AND why = ? AND file IS NULL ORDER BY id", (stream, why)):
            if readings.values >= policy.file_values:
                break
            block = decode.decode(stored, facts)
            if block is None or (block.waits and stored.id not in expired):
                continue
            ids.append(stored.id)
            if block.waits:
                late.append(block)
            else:
                readings.add(block)
    add_as_they_stand(readings, late)
    return ids


def add_resolved(db: Database, readings: Readings, facts: Facts, file: str) -> None:
    """Add the records that were assigned to `file` before a crash, in their final form."""
    late: list[Block] = []
    for stored in _stored(db, "file = ? ORDER BY id", (file,)):
        block = decode.decode(stored, facts)
        if block is not None and block.waits:
            late.append(block)
        elif block is not None:
            readings.add(block)
    add_as_they_stand(readings, late)


def assign(db: Database, ids: Iterable[int], file: str) -> None:
    """Part of the transaction that fixes the range of `file`."""
    db.executemany("UPDATE parked SET file = ? WHERE record_id = ?", [(file, one) for one in ids])


def settle(db: Database, waiting: list[Waiting], file: str, now_ms: int) -> None:
    """Part of the transaction that finishes `file`: its own leave, newly waiting ones come."""
    db.execute("DELETE FROM parked WHERE file = ?", (file,))
    db.executemany(
        "INSERT INTO parked VALUES(?, ?, ?, NULL) ON CONFLICT DO NOTHING",
        [(one.record_id, one.why, now_ms) for one in waiting],
    )


def _ids(db: Database, stream: int, why: str, before_ms: int) -> set[int]:
    rows = db.execute(
        "SELECT record_id FROM parked JOIN records ON id = record_id WHERE stream = ? AND why = ? AND since_ms <= ?",
        (stream, why, before_ms),
    )
    return {record_id for (record_id,) in rows}


def may_resolve(facts: Facts, stream: int, why: str) -> bool:
    """Whether anything has come that may end the waiting; cheap, and wrong on one side only."""
    kind, _, number = why.partition(":")
    if not number:
        return False
    if kind == decode.NO_SCHEMA:
        return (stream, int(number)) in facts.schemas
    anchors = facts.anchors.get((stream, int(number)), [])
    return any(anchor.utc_ms >= dating.YEAR_2020_MS for anchor in anchors)


def _stored(db: Database, where: str, arguments: tuple[object, ...]) -> list[Stored]:
    return [Stored(*row) for row in db.execute(_SELECT + where, arguments)]


def add_as_they_stand(readings: Readings, late: list[Block]) -> None:
    """Date by receipt, from the least delay of each boot; what has no schema stays text."""
    offsets: dict[tuple[int, int | None], int] = {}
    for block in late:
        if block.waits == decode.NO_CLOCK:
            key = _boot_of(block)
            offset = block.stored.received_ms - int(block.times_ms.max())
            offsets[key] = min(offset, offsets.get(key, offset))
    for block in late:
        if block.waits == decode.NO_CLOCK:
            dated = dating.date_receipt(block.times_ms, offsets[_boot_of(block)])
            block = block._replace(dated=dated)
        readings.add(block)


def _boot_of(block: Block) -> tuple[int, int | None]:
    """Records that share a clock; one without a boot number shares it with nobody."""
    key = block.boot if block.boot is not None else -block.stored.id
    return block.stored.stream, key
