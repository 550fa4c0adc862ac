"""Two thousand boards on TCP: the real host as a process, light clients of the shared protocol here."""

import asyncio
import sqlite3
import subprocess
from pathlib import Path

import pytest
from meuse.links.tcp import OTHER_DESCRIPTORS, room_for

from tests.end_to_end.river import MEUSE, Host, free_port, meuse
from tests.firmware.virtual import wait_for
from tests.host.light_board import LightBoard, until
from tests.host.many_boards import AT_ONCE, drained, provisioned, resident_bytes

BOARDS = 2000
MOST_BYTES = 20_000  # of memory for an idle board, without what the kernel holds for its socket; measured: 11,000


@pytest.mark.link(
    "tcp", board="2,000 light clients on the shared protocol", wire="TCP sockets on loopback", host="meuse run"
)
def test_two_thousand_connections(tmp_path: Path) -> None:
    assert room_for(BOARDS) == BOARDS, "the system allows this process too few sockets: raise `ulimit -Hn`"
    data = tmp_path / "data"
    boards = [LightBoard(device, key) for device, key in provisioned(data, BOARDS).items()]

    async def scene(host: Host) -> int:
        for board in boards:
            board.add()
        await drained(boards[:AT_ONCE], f"127.0.0.1:{host.port}")  # what the host needs once, it has by now
        assert host.process is not None
        before = resident_bytes(host.process.pid)
        await drained(boards[AT_ONCE:], f"127.0.0.1:{host.port}")
        grown = resident_bytes(host.process.pid) - before
        assert all(board.plugged for board in boards), "the host holds them all at once"
        for board in boards:
            board.unplug()
        return grown // (BOARDS - AT_ONCE)

    with Host(data) as host:
        each = asyncio.run(scene(host))
        host.stop()
    with sqlite3.connect(data / "journal.sqlite") as db:
        found = db.execute("SELECT stream, seq, record FROM records").fetchall()
    db.close()
    made = {(b.log.stream, seq): record for b in boards for seq, record in b.log.created.items()}
    assert len(found) == len(made) == BOARDS
    assert {(stream, seq): record for stream, seq, record in found} == made
    print(f"{each} bytes of memory for each idle board")
    assert each <= MOST_BYTES


ALLOWED = 20
ULIMIT = f"ulimit -n {OTHER_DESCRIPTORS + ALLOWED}; exec "


def test_more_boards_than_the_system_allows_connections(tmp_path: Path) -> None:
    """The host says so once, stores what those send who got in, and does not run in circles for the others."""
    data, log, port = tmp_path / "data", tmp_path / "log", free_port()
    boards = [LightBoard(device, key) for device, key in provisioned(data, 5 * ALLOWED).items()]
    words = f"{ULIMIT} {MEUSE} run --data {data} --tcp 127.0.0.1:{port}"

    async def scene() -> None:
        for board in boards:
            board.add()
            await board.connect(f"127.0.0.1:{port}")
        await until(lambda: sum(board.plugged for board in boards) == ALLOWED, "the others are sent away")
        inside = [board for board in boards if board.plugged]
        await until(lambda: all(board.acked for board in inside), "those inside are served")
        for board in inside:
            board.unplug()
        late = next(board for board in boards if not board.acked)

        async def served() -> None:
            while not late.acked:  # room comes when the host has heard that the others went
                if not late.plugged:
                    await late.connect(f"127.0.0.1:{port}")
                await asyncio.sleep(0.05)

        await asyncio.wait_for(served(), 60)
        late.unplug()

    with log.open("wb") as out:
        process = subprocess.Popen(["sh", "-c", words], stdout=out, stderr=out)
    try:
        wait_for(lambda: "listening on" in log.read_text(), "the host listens", 60)
        asyncio.run(scene())
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    told = log.read_text()
    assert told.count(f"the system allows {ALLOWED} connections, not 10000: raise `ulimit -n`") == 1
    assert told.count(f"full with {ALLOWED} connections; more are closed at once") == 1
    assert "Traceback" not in told
    assert len(told.splitlines()) < 10 + 5 * ALLOWED, told


def test_check_says_that_the_system_allows_too_few(tmp_path: Path) -> None:
    words = f"{ULIMIT} {MEUSE} run --check --data {tmp_path / 'data'} --tcp 127.0.0.1:{free_port()}"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=60)
    assert f"the system allows {ALLOWED} connections, not 10000" in done.stdout, done.stdout + done.stderr
    assert "ulimit -n" in done.stdout
    assert done.returncode == 0, "boards are served all the same"
    assert "connections" not in meuse("run", "--check", "--data", str(tmp_path / "data"), "--tcp", "127.0.0.1:0")
