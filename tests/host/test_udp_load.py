"""Two thousand boards on one UDP socket: the real host as a process, light clients of the shared protocol here."""

import asyncio
import os
import secrets
import sqlite3
from pathlib import Path

import pytest
from meuse.keys import FOLDER, KEY_BYTES, SUFFIX
from meuse.links.tcp import room_for

from tests.end_to_end.river import Host
from tests.host.light_board import until
from tests.host.udp_board import UdpBoard
from tests.ports import free_port

BOARDS = 2000
RECORDS = 3
AT_ONCE = 200
MOST_BYTES = 10_000  # of memory for an idle board; measured: 8,400, of which 3,300 are its address's


def provisioned(data: Path) -> dict[str, bytes]:
    """Keys as the host's own command makes them, but for the wait for the disk after each of 2,000."""
    folder = data / FOLDER
    folder.mkdir(parents=True)
    keys = {f"light-{number}": secrets.token_bytes(KEY_BYTES) for number in range(BOARDS)}
    for device, key in keys.items():
        path = folder / (device + SUFFIX)
        path.touch(mode=0o600)
        path.write_text(key.hex() + "\n")
    return keys


def resident_bytes(pid: int) -> int:
    """Memory of that process that is in RAM now."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def drained(boards: list[UdpBoard], address: str) -> None:
    """All of them there and all they have stored; a few at a time, as boards come after a power cut."""
    for first in range(0, len(boards), AT_ONCE):
        some = boards[first : first + AT_ONCE]
        for board in some:
            await board.connect(address)
        await until(lambda some=some: all(b.acked == b.made for b in some), "they drain", 60)  # type: ignore[misc]


@pytest.mark.link(
    "udp", board="2,000 light clients on the shared protocol", wire="UDP sockets on loopback", host="meuse run"
)
def test_two_thousand_boards_on_one_socket(tmp_path: Path) -> None:
    assert room_for(BOARDS) == BOARDS, "the system allows this process too few sockets: raise `ulimit -Hn`"
    data, port = tmp_path / "data", free_port()
    boards = [UdpBoard(device, key) for device, key in provisioned(data).items()]

    async def scene(host: Host) -> int:
        for board in boards:
            board.add(RECORDS)
        await drained(boards[:AT_ONCE], f"127.0.0.1:{port}")  # what the host needs once, it has by now
        assert host.process is not None
        before = resident_bytes(host.process.pid)
        await drained(boards[AT_ONCE:], f"127.0.0.1:{port}")
        grown = resident_bytes(host.process.pid) - before
        for board in boards:
            board.unplug()
        return grown // (BOARDS - AT_ONCE)

    with Host(data, words=["--udp", f"127.0.0.1:{port}"]) as host:
        each = asyncio.run(scene(host))
        host.stop()
    with sqlite3.connect(data / "journal.sqlite") as db:
        found = db.execute("SELECT stream, seq, record FROM records").fetchall()
        told = dict(db.execute("SELECT key, value FROM host_status"))
    db.close()
    made = {(b.log.stream, seq): record for b in boards for seq, record in b.log.created.items()}
    assert len(found) == len(made) == BOARDS * RECORDS
    assert {(stream, seq): record for stream, seq, record in found} == made
    print(f"{each} bytes of memory for each idle board; {told}")
    assert each <= MOST_BYTES
