"""The lake's task in a running host: catalog kept up, files written beside, trouble told once."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from meuse.journal.batch import Batch, Binding, Row
from meuse.journal.database import FILE_NAME
from meuse.journal.sqlite import SqliteJournal
from meuse.lake.policy import Policy
from meuse.lake.task import LakeWriter
from meuse.query import store
from meuse_protocol.schema import Schema

from tests.host.journals import NOON_MS, STREAM, schema_record, single_record

AIR = Schema(1, "air", 1_000, [("temp", "Cel", -1, 0)])


async def filled(path: Path, readings: int) -> SqliteJournal:
    """A journal with one schema and so many single readings."""
    journal = await SqliteJournal.open(path / FILE_NAME, NOON_MS)
    records = [schema_record(1, AIR)]
    records += [single_record(2 + i, 1, NOON_MS // 1_000 + i, [200 + i]) for i in range(readings)]
    rows = [Row(STREAM, 1 + i, record[1], NOON_MS, "tcp", record) for i, record in enumerate(records)]
    await journal.commit(Batch(bindings=[Binding(STREAM, "stove-1", NOON_MS, 1)], rows=rows))
    return journal


async def until(condition, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def count(data: Path, table: str) -> int:
    db = sqlite3.connect(data / FILE_NAME)
    try:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        db.close()


def readings(data: Path) -> int:
    with store.opened(data) as db:
        return int(db.execute("SELECT count(*) FROM readings").fetchall()[0][0])


def test_it_writes_when_due_and_the_rest_at_the_end(tmp_path: Path) -> None:
    async def scenario() -> LakeWriter:
        journal = await filled(tmp_path, 20)
        lake = LakeWriter(journal, tmp_path, lambda: NOON_MS, policy=Policy(due_age_ms=0))
        running = asyncio.create_task(lake.run())
        await until(lambda: lake.passes)
        assert (count(tmp_path, "schemas"), count(tmp_path, "lake_files")) == (1, 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        record = single_record(22, 1, NOON_MS // 1_000, [1])
        await journal.commit(Batch(rows=[Row(STREAM, 22, record[1], NOON_MS, "tcp", record)]))
        assert await lake.finish()
        await journal.close()
        return lake

    lake = asyncio.run(scenario())
    assert (lake.passes, lake.failures, lake.trouble) == (2, 0, "")
    assert len(list((tmp_path / "lake").glob("*.parquet"))) == 2
    assert readings(tmp_path) == 21


def test_nothing_is_written_before_it_is_due(tmp_path: Path) -> None:
    async def scenario() -> int:
        journal = await filled(tmp_path, 20)
        lake = LakeWriter(journal, tmp_path, lambda: NOON_MS)
        running = asyncio.create_task(lake.run())
        await until(lambda: count(tmp_path, "schemas"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()
        return lake.passes

    assert asyncio.run(scenario()) == 0
    assert not (tmp_path / "lake").exists()
    assert readings(tmp_path) == 20


def test_trouble_is_told_once_and_its_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the lake's folder should be stands for a disk that refuses."""
    told: list[str] = []
    monkeypatch.setattr("meuse.lake.task.AFTER_FAILURE_S", 0.05)
    (tmp_path / "lake").write_text("in the way")

    async def scenario() -> LakeWriter:
        journal = await filled(tmp_path, 20)
        lake = LakeWriter(journal, tmp_path, lambda: NOON_MS, told.append, Policy(due_age_ms=0))
        running = asyncio.create_task(lake.run())
        await until(lambda: lake.failures >= 2)
        assert readings(tmp_path) == 20  # the journal holds them meanwhile
        (tmp_path / "lake").unlink()
        await until(lambda: lake.passes)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()
        return lake

    lake = asyncio.run(scenario())
    assert len(told) == 2
    assert "lake" in told[0]
    assert told[1] == lake.trouble == ""
    assert readings(tmp_path) == 20


def test_a_writer_that_cannot_be_started_is_trouble_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory or no descriptor left for a process: it is told, and tried again."""
    told: list[str] = []

    async def scene() -> None:
        journal = await filled(tmp_path, 20)
        lake = LakeWriter(journal, tmp_path, lambda: NOON_MS, told.append)
        with monkeypatch.context() as without:
            without.setattr("sys.executable", str(tmp_path / "no-python"))
            assert not await lake.finish()
        assert "cannot be started" in told[0]
        assert await lake.finish()
        assert told[1:] == [""]
        await journal.close()

    asyncio.run(scene())
    assert readings(tmp_path) == 20
