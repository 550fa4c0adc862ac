"""Which records may leave the journal: old ones that every reader has passed; nothing else."""

from meuse.journal.sql import Database

# One step is one short transaction, so that a commit never waits long behind a purge.
STEP_RECORDS = 2_000


def purge_step(db: Database, before_ms: int, readers: tuple[str, ...]) -> int:
    """Delete up to STEP_RECORDS from the old end; returns how many."""
    passed = _passed_by_all(db, readers)
    oldest = db.execute(
        "SELECT id, received_ms FROM records WHERE id <= ? ORDER BY id LIMIT ?",
        (passed, STEP_RECORDS),
    ).fetchall()
    last = 0
    for record_id, received_ms in oldest:
        if received_ms >= before_ms:
            break
        last = record_id
    return int(db.execute("DELETE FROM records WHERE id <= ?", (last,)).rowcount) if last else 0


def _passed_by_all(db: Database, readers: tuple[str, ...]) -> int:
    """The position that the slowest reader has reached; 0 while an expected one never began."""
    positions = dict(db.execute("SELECT reader, position FROM cursors"))
    passed = [positions.get(reader, 0) for reader in readers] + list(positions.values())
    (parked,) = db.execute("SELECT min(record_id) FROM parked").fetchone()
    if parked is not None:  # not in the lake yet, so the journal holds the only copy
        passed.append(parked - 1)
    (left,) = db.execute("SELECT min(first_id) FROM topics_left").fetchone()
    if left is not None:  # no reader's cursor stands for it yet
        passed.append(left - 1)
    return int(min(passed or [0]))
