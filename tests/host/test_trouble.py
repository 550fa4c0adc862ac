"""Disk full, journal locked, more than the disk takes: no acknowledgement, window 0, and recovery without a restart."""

import asyncio
import contextlib
import os
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse.checks import check_host
from meuse.journal.database import FILE_NAME
from meuse.links.tcp import READ_BYTES
from meuse.run import Host
from meuse.settings import HostSettings, Settings
from meuse_protocol import states
from meuse_protocol.framing import frame

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, until


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Another program holds the journal's write lock."""
    other = sqlite3.connect(data / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def held_then_free(host: Host, board: LightBoard, data: Path, free: contextlib.ExitStack) -> None:
    """With the journal in trouble nothing is acknowledged; `free` ends the trouble, and all is well."""
    before = board.acked
    late = LightBoard("late-1", key_of(data, "late-1"))
    board.add(20, size=500)
    await until(lambda: host.commits.failing, "the failure is noticed")
    assert host.commits.held
    await until(lambda: board.endpoint.state == states.HELD, "the board is told a window of 0")
    assert board.acked == before
    assert len(stored(data, board.log.stream)) == before
    late.add(5)
    await late.connect(host.tcp[0].address)  # accepted by the system, but not read
    await until(lambda: len(host.bridge.sessions) == 2, "its session")
    free.close()
    await board.drained()
    await late.drained()
    assert stored(data, late.log.stream) == late.log.created
    late.unplug()
    assert host.commits.failing is None and not host.commits.held
    assert stored(data, board.log.stream) == board.log.created
    await until(lambda: {"journal-failed", "journal-recovered"} <= set(events(data)), "the alarm")
    ((_, lasted),) = ask(data, "SELECT at_ms, detail FROM events WHERE kind = 'journal-recovered'")
    assert str(lasted).startswith("after ")


def scene_of(data: Path, trouble: "contextlib.AbstractContextManager[object]") -> None:
    async def scene() -> None:
        async with running(data) as host:
            key_of(data, "late-1")  # a full disk takes no new keys
            board = LightBoard("stove-1", key_of(data, "stove-1"))
            board.add(5)
            await board.connect(host.tcp[0].address)
            await board.drained()
            with contextlib.ExitStack() as free:
                free.enter_context(trouble)
                await held_then_free(host, board, data, free)
            board.unplug()

    asyncio.run(scene())


def test_locked_by_another_program(tmp_path: Path) -> None:
    scene_of(tmp_path, locked(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own with 2 MB; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("may not mount a filesystem here; the next test fills the journal instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not one more block on this filesystem."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(folder).f_bavail == 0
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk(small_disk: Path) -> None:
    scene_of(small_disk, filled(small_disk))


def test_doctor_says_that_the_disk_is_full(small_disk: Path) -> None:
    with filled(small_disk):
        (wrong,) = [f for f in check_host(Settings(HostSettings(data=str(small_disk)))) if f.what == "data"]
    assert wrong.bad and "No space left" in wrong.state and wrong.advice.startswith("free some space")


def test_a_journal_that_may_not_grow(tmp_path: Path) -> None:
    """The same from inside SQLite, where no filesystem may be mounted."""

    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            await board.connect(host.tcp[0].address)
            await board.drained()

            def limit(db: sqlite3.Connection) -> None:
                (pages,) = db.execute("PRAGMA page_count").fetchone()
                db.execute(f"PRAGMA max_page_count = {pages}")

            await host.journal.write(limit)
            with contextlib.ExitStack() as free:
                writer = host.journal._writer
                assert writer is not None
                free.callback(lambda: writer._db.execute("PRAGMA max_page_count = 1000000"))
                await held_then_free(host, board, tmp_path, free)
            board.unplug()

    asyncio.run(scene())


def test_a_flood_is_held_in_the_socket_not_in_memory(tmp_path: Path) -> None:
    """A board that ignores its window: the queue takes its bound and one read more, then nobody reads."""
    limit = 100_000

    async def scene() -> None:
        async with running(tmp_path) as host:
            host.commits._max_bytes = limit
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            await board.connect(host.tcp[0].address)
            await until(lambda: ask(tmp_path, "SELECT * FROM streams"), "HELLO")
            made = [board.log.append(4, 1, None, secrets.token_bytes(900)) for _ in range(900)]
            with locked(tmp_path):
                wire = [frame(board.packet(board.log.created[seq], board.log.stream)) for seq in made]
                board.send_raw(b"".join(wire))
                await until(lambda: host.commits.times_full, "the queue is full")
                await until(lambda: host.commits.failing, "and the journal fails")
                assert limit <= host.commits.bytes <= limit + READ_BYTES
                assert host.commits.records < len(made)
            await until(lambda: len(stored(tmp_path, board.log.stream)) == len(made), "everything is stored")
            await until(lambda: host.commits.records == 0, "the queue is empty")
            assert host.commits.bytes == 0
            board.unplug()

    asyncio.run(scene())
