"""One pass of the lake: the next range of the journal becomes one Parquet file, or none of it does.

1. range  the range and the parked records that go with it are committed (state `writing`)
2. write  the file grows under a temporary name   3. sync   it is on the disk
4. rename it gets its name                        5. folder the name is on the disk
6. done   state, parked records and cursor are committed together

A crash after 1 repeats 2 to 6 for the same range under the same name; before 6 no query looks at
the file. Runs in its own process or thread; knows no event loop.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from meuse import catalog
from meuse.catalog import Facts
from meuse.decode import Stored, decode
from meuse.journal.sql import NO_LIMIT, Database
from meuse.lake import files, parked, parquet
from meuse.lake.files import Content, transaction
from meuse.lake.policy import Pending, Policy
from meuse.readings import Readings

# Called before each step with its name; tests end the process there.
Step = Callable[[str], None]

_COLUMNS = "id, stream, seq, type, received_ms, record"


def no_step(name: str) -> None:
    """Nobody watches."""


class Range(NamedTuple):
    """What one file holds: records `first_id` to `last_id`, and resolved ones from before."""

    name: str
    first_id: int
    last_id: int


class Gathered(NamedTuple):
    """Decoded rows, and the records that have to wait (id -> why)."""

    readings: Readings
    waiting: list[parked.Waiting]
    last_id: int


def pending(db: Database, policy: Policy) -> Pending:
    """What has come since the last file; counted only as far as it takes to be due."""
    row = db.execute(
        "SELECT count(*), coalesce(sum(size), 0), coalesce(min(received_ms), 0) FROM"
        " (SELECT length(record) AS size, received_ms FROM records WHERE id > ?"
        " ORDER BY id LIMIT ?) AS newer",
        (catalog.position(db, files.CURSOR), policy.due_records),
    ).fetchone()
    return Pending(*row)


def recover(db: Database, folder: Path, policy: Policy, now_ms: int, step: Step = no_step) -> int:
    """Finish what a crash interrupted; returns how many files that were."""
    left = files.unfinished(db, files.WRITING)
    for file in left:
        facts = catalog.load(db)
        span = Range(file.name, file.first_id, file.last_id)
        gathered = gather(db, facts, file.first_id - 1, file.last_id, policy)
        parked.add_resolved(db, gathered.readings, facts, file.name)
        write(db, folder, span, gathered, now_ms, step)
    return len(left)


def write_next(db: Database, folder: Path, policy: Policy, now_ms: int, step: Step = no_step) -> int:
    """Take the next range; returns how many records it had, 0 when the lake is up to date.

    Only records that are there when it starts, so a pass ends however fast new ones come.
    """
    db.execute("BEGIN")  # one view of catalog and records
    try:
        facts = catalog.load(db)
        start = catalog.position(db, files.CURSOR)
        gathered = gather(db, facts, start, None, policy)
        resolved = parked.resolve(db, gathered.readings, facts, policy, now_ms)
        journal = files.journal_id(db)
    finally:
        db.execute("COMMIT")
    if gathered.last_id == start:
        return 0
    span = Range(files.file_name(journal, start + 1, gathered.last_id), start + 1, gathered.last_id)
    step("range")
    with transaction(db):
        files.begin(db, span.name, span.first_id, span.last_id, files.WRITING, now_ms)
        parked.assign(db, resolved, span.name)
    write(db, folder, span, gathered, now_ms, step)
    return gathered.last_id - start


def gather(db: Database, facts: Facts, after_id: int, last_id: int | None, policy: Policy) -> Gathered:
    """Decode records after `after_id`: up to `last_id`, or as many as one file takes."""
    readings = Readings(facts)
    waiting: list[parked.Waiting] = []
    end = after_id
    limit = policy.file_records if last_id is None else NO_LIMIT
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM records WHERE id > ? AND id <= coalesce(?, id) ORDER BY id LIMIT ?",
        (after_id, last_id, limit),
    )
    for stored in map(Stored._make, rows):
        block = decode(stored, facts)
        if block is not None and block.waits:
            waiting.append(parked.Waiting(stored.id, parked.reason(block)))
        elif block is not None:
            readings.add(block)
        end = stored.id
        if last_id is None and readings.values >= policy.file_values:
            break
    rows.close()
    return Gathered(readings, waiting, end if last_id is None else last_id)


def write(db: Database, folder: Path, span: Range, gathered: Gathered, now_ms: int, step: Step) -> None:
    """Steps 2 to 6 for a committed range."""
    target = folder / span.name
    content: Content | None = None
    if gathered.readings.values:
        temporary = files.temporary(folder, span.name)
        step("write")
        content = parquet.write(gathered.readings.arrays(), temporary)
        step("sync")
        files.sync(temporary)
        step("rename")
        temporary.replace(target)
    else:  # all of it waits, or nothing of it is a reading
        target.unlink(missing_ok=True)
    step("folder")
    files.sync(folder)
    step("done")
    with transaction(db):
        if content is None:
            files.forget(db, span.name)
        else:
            files.finish(db, span.name, content, now_ms)
        parked.settle(db, gathered.waiting, span.name, now_ms)
        catalog.move_cursor(db, files.CURSOR, span.last_id, now_ms)
    step("end")
