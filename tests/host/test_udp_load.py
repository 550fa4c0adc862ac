"""Two thousand boards on one UDP socket: the real host as a process, light clients of the shared protocol here."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from meuse.links.tcp import room_for

from tests.end_to_end.river import Host
from tests.host.many_boards import AT_ONCE, drained, provisioned, resident_bytes
from tests.host.udp_board import UdpBoard
from tests.ports import free_port

BOARDS = 2000
RECORDS = 3
MOST_BYTES = 10_000  # of memory for an idle board; measured: 8,400, of which 3,300 are its address's


@pytest.mark.link(
    "udp", board="2,000 light clients on the shared protocol", wire="UDP sockets on loopback", host="meuse run"
)
def test_two_thousand_boards_on_one_socket(tmp_path: Path) -> None:
    assert room_for(BOARDS) == BOARDS, "the system allows this process too few sockets: raise `ulimit -Hn`"
    data, port = tmp_path / "data", free_port()
    boards = [UdpBoard(device, key) for device, key in provisioned(data, BOARDS).items()]

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
