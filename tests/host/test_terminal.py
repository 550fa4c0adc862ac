"""Who looks at `meuse run` cannot hold it up: a terminal that is not read or was closed, a pipe whose reader left."""

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from meuse import outlet

from tests.host.hosts import key_of, stored
from tests.host.light_board import LightBoard
from tests.host.test_host_serial import Cable

MEUSE = str(Path(sys.executable).with_name("meuse"))


@contextmanager
def watched(tmp_path: Path, output: int) -> Iterator[subprocess.Popen[bytes]]:
    """`meuse run` with one serial port, all it says going to `output`."""
    words = ["run", "--tcp", "127.0.0.1:0", "--serial", str(tmp_path / "tty"), "--data", str(tmp_path / "data")]
    process = subprocess.Popen([MEUSE, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=tmp_path)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def carried(tmp_path: Path, board: LightBoard, count: int) -> None:
    board.add(count)
    await board.drained(60)
    assert stored(tmp_path / "data", board.log.stream) == board.log.created


def fill(descriptor: int) -> None:
    """Until not one byte more fits."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"x")
    os.set_blocking(descriptor, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_terminal_that_nobody_reads_stops_nothing(tmp_path: Path, number: signal.Signals) -> None:
    reader, terminal = pty.openpty()
    fill(terminal)
    cable = Cable(tmp_path / "tty")

    async def scene() -> None:
        board = LightBoard("stove-1", key_of(tmp_path / "data", "stove-1"))
        board.plug(cable.plug())
        with watched(tmp_path, terminal) as process:
            for _ in range(3):
                await carried(tmp_path, board, 50)
            process.send_signal(number)
            assert await asyncio.to_thread(process.wait, 60) == 0
        board.unplug()
        cable.unplug()

    asyncio.run(scene())
    os.close(reader)
    os.close(terminal)


@pytest.mark.parametrize("hang_up", [True, False])
def test_a_terminal_that_is_closed_is_no_failure(tmp_path: Path, hang_up: bool) -> None:
    """With the signal that a terminal sends as it closes it stops in order; without one it goes on."""
    reader, terminal = pty.openpty()
    cable = Cable(tmp_path / "tty")

    async def scene() -> None:
        board = LightBoard("stove-1", key_of(tmp_path / "data", "stove-1"))
        board.plug(cable.plug())
        with watched(tmp_path, terminal) as process:
            os.close(terminal)
            await carried(tmp_path, board, 10)
            os.close(reader)
            if not hang_up:
                for _ in range(3):
                    await carried(tmp_path, board, 10)
            process.send_signal(signal.SIGHUP if hang_up else signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
        board.unplug()
        cable.unplug()

    asyncio.run(scene())


@contextmanager
def small_pipe() -> Iterator[tuple[int, TextIO]]:
    """(end to read from, stream to write to), full."""
    reader, writer = os.pipe()
    fill(writer)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream
        with contextlib.suppress(OSError):
            os.close(reader)


def taken(reader: int, until_text: str) -> str:
    """All that comes up to this text."""
    found = b""
    while until_text.encode() not in found:
        found += os.read(reader, 65536)
    return found.decode().lstrip("x")


def test_what_finds_no_room_is_dropped_counted_and_told() -> None:
    with small_pipe() as (reader, beneath):
        out = outlet.Outlet(beneath)
        lines = [f"line {n} of too many\n" for n in range(2 * outlet.ROOM_BYTES // 20)]
        for line in lines:
            out.write(line)
        kept = len(lines) - out.dropped
        assert out.busy and kept < len(lines)
        assert len("".join(lines[:kept])) <= outlet.ROOM_BYTES
        told = taken(reader, "nobody read them)\n")
        assert told == "".join(lines[:kept]) + f"({out.dropped} pieces of output dropped: nobody read them)\n"
        out.write("again °C\n")
        assert taken(reader, "\n") == "again °C\n"
        out.finish()
        assert not out.busy


def test_a_reader_that_left_is_not_waited_for() -> None:
    with small_pipe() as (reader, beneath):
        out = outlet.Outlet(beneath)
        out.write("to nobody\n")
        os.close(reader)
        out.finish()
        out.write("to nobody\n")
        assert out.gone and not out.busy and out.dropped == 1
