"""The journal by itself: one transaction holds records and sets, the first of two stays, purge waits for readers."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from meuse.errors import JournalBusy, JournalError
from meuse.journal.batch import Batch, Binding, Event, Gap, Outcome, Row, Twin
from meuse.journal.database import FILE_NAME, open_reader
from meuse.journal.migrations import STEPS
from meuse.journal.sqlite import SqliteJournal
from meuse.journal.writer import EVENTS_KEPT, Writer
from meuse_protocol.received import RangeSet

A, B = 0x80000001, 0x80000002
DAY_MS = 86_400_000


def row(stream: int, seq: int, record: bytes = b"", at_ms: int = 1) -> Row:
    return Row(stream, seq, 4, at_ms, "tcp", record or b"%d" % seq)


def bound(path: Path) -> Writer:
    writer = Writer(path / FILE_NAME, 1)
    writer.commit(Batch(bindings=[Binding(A, "a-1", 1, 1), Binding(B, "b-1", 1, 1)]))
    return writer


def sets_of(path: Path, stream: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Ranges received and gapped, as they stand in the file."""
    db = open_reader(path / FILE_NAME)
    found = db.execute("SELECT received, gapped FROM streams WHERE stream = ?", (stream,)).fetchone()
    db.close()
    return RangeSet.from_bytes(found[0]).ranges(), RangeSet.from_bytes(found[1]).ranges()


def test_records_and_received_set_are_one_transaction(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    outcome = writer.commit(Batch(rows=[row(A, 1), row(B, 7), row(A, 2)]))
    assert outcome.last_id == 3 and outcome.conflicts == []
    writer.close()
    assert sets_of(tmp_path, A) == ([(1, 2)], [])
    assert sets_of(tmp_path, B) == ([(7, 7)], [])


def test_a_record_that_comes_again_is_stored_once_and_compared(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    writer.commit(Batch(rows=[row(A, 1, b"first")]))
    assert writer.commit(Batch(rows=[row(A, 1, b"first"), row(A, 2)])).conflicts == []
    assert writer.commit(Batch(rows=[row(A, 1, b"other")])).conflicts == [(A, 1)]
    assert writer.commit(Batch(twins=[Twin(A, 1, b"other")])).conflicts == [(A, 1)]
    assert writer.commit(Batch(twins=[Twin(A, 1, b"first")])).conflicts == []
    records = writer.transaction(lambda db: db.execute("SELECT seq, record FROM records").fetchall())
    writer.close()
    assert records == [(1, b"first"), (2, b"2")]


def test_a_gap_never_overrides_a_record_and_a_late_record_leaves_the_gap(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    writer.commit(Batch(rows=[row(A, 3)]))
    writer.commit(Batch(gaps=[Gap(A, 1, 5, 1, "board", 2)]))
    assert sets_of(tmp_path, A) == ([(3, 3)], [(1, 2), (4, 5)])
    writer.commit(Batch(rows=[row(A, 4)]))
    writer.close()
    assert sets_of(tmp_path, A) == ([(3, 4)], [(1, 2), (5, 5)])


def test_a_failed_transaction_leaves_nothing_and_the_batch_may_be_tried_again(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    good = Batch(rows=[row(A, 1)])
    bad = Batch(rows=[row(A, 2), row(A, 3)._replace(record=None)])  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        writer.commit(bad)
    writer.commit(good)
    assert sets_of(tmp_path, A) == ([(1, 1)], [])
    writer.commit(Batch(rows=bad.rows[:1]))
    writer.close()
    assert sets_of(tmp_path, A) == ([(1, 2)], [])


def test_purge_waits_for_every_reader_and_the_received_set_stays(tmp_path: Path) -> None:
    async def scene() -> None:
        journal = await SqliteJournal.open(tmp_path / FILE_NAME, 1)
        binding = Binding(A, "a-1", 1, 1)
        await journal.commit(Batch([row(A, n, at_ms=n * DAY_MS) for n in range(1, 11)], [binding]))

        async def passed(**positions: int) -> int:
            def write(db: sqlite3.Connection) -> None:
                db.executemany("INSERT OR REPLACE INTO cursors VALUES(?, ?, 1)", positions.items())

            await journal.write(write)
            return await journal.purge(6 * DAY_MS, ("lake", "catalog"))

        assert await passed(catalog=10) == 0  # the lake never began
        assert await passed(lake=3) == 3
        assert await passed(lake=10, other=4) == 1  # any reader counts, expected or not
        assert await passed(other=10) == 1  # seq 6 and later are too young
        again = await journal.commit(Batch([row(A, 1, b"again")]))
        assert again == Outcome(10, [])  # purged: not compared, and never stored again
        left = await journal.read(lambda db: db.execute("SELECT seq FROM records").fetchall())
        assert left == [(n,) for n in range(6, 11)]
        await journal.close()

    asyncio.run(scene())
    assert sets_of(tmp_path, A) == ([(1, 10)], [])


def test_readers_know_how_far_it_is_durable(tmp_path: Path) -> None:
    async def scene() -> None:
        journal = await SqliteJournal.open(tmp_path / FILE_NAME, 1)
        await journal.commit(Batch([], [Binding(A, "a-1", 1, 1)]))
        assert journal.last_id == 0
        await journal.commit(Batch([row(A, 1)]))
        assert journal.last_id == 1
        await journal.close()
        with pytest.raises(JournalError):
            await journal.read(lambda db: None)

    asyncio.run(scene())


def test_events_are_bounded(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    for n in range(3):
        writer.commit(Batch(events=[Event(n, None, "noise", "")] * (EVENTS_KEPT // 2)))
    kept = writer.transaction(lambda db: db.execute("SELECT count(*), min(at_ms) FROM events").fetchone())
    writer.close()
    assert kept == (EVENTS_KEPT, 1)


def test_a_journal_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    writer = bound(tmp_path)
    writer.transaction(lambda db: db.execute(f"PRAGMA user_version = {len(STEPS) + 1}"))
    writer.close()
    with pytest.raises(JournalError, match="newer"):
        Writer(tmp_path / FILE_NAME, 1)


def test_errors_come_in_words_with_advice(tmp_path: Path) -> None:
    async def scene() -> None:
        journal = await SqliteJournal.open(tmp_path / FILE_NAME, 1)
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusy) as busy:
            await journal.commit(Batch([], [Binding(A, "a-1", 1, 1)]))
        assert busy.value.advice
        other.close()
        await journal.commit(Batch([], [Binding(A, "a-1", 1, 1)]))
        await journal.close()

    asyncio.run(scene())


def test_closing_waits_for_a_read_that_nobody_waits_for_any_more(tmp_path: Path) -> None:
    """SQLite's memory must not go while another thread is in it: the process would die of it."""

    async def scene() -> None:
        journal = await SqliteJournal.open(tmp_path / FILE_NAME, 0)
        began, ended = threading.Event(), threading.Event()

        def slow(db: sqlite3.Connection) -> None:
            began.set()
            numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000)"
            db.execute(numbers + " SELECT sum(i) FROM n").fetchall()
            ended.set()

        reading = asyncio.create_task(journal.read(slow))
        await asyncio.to_thread(began.wait)
        reading.cancel()
        await journal.close()
        assert ended.is_set()

    asyncio.run(scene())
