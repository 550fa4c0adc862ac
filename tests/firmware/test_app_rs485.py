"""The application on real MicroPython as one of several boards on an RS-485 wire, with the real host as its master."""

import asyncio
import copy
import os
import pty
import socket
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from meuse_protocol.polled import PolledEndpoint

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, until
from tests.rs485.real_time import RealWire

from .peer import DEFAULT, Board, Memory

BAUD = 57_600
SECONDS = 60.0


class BusBoard(Board):
    """The process; its UART ends at the wire."""

    def start(self) -> "BusBoard":
        self.socket, there = map(self._own, socket.socketpair())
        self._spawn(there)
        there.close()
        return self

    async def stopped(self) -> int:
        """Asks for an orderly end while the wire goes on -> exit status."""
        process = self.process
        assert process
        (self.folder / "stop").touch()
        await until(lambda: process.poll() is not None, "the board ends", SECONDS)
        self.process = None
        return process.returncode


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[BusBoard]:
    settings = copy.deepcopy(DEFAULT)
    settings["links"] = [{"kind": "rs485", "uart": 0, "baud": BAUD, "de": 5, "cost": 1}]
    (tmp_path / "board").mkdir()
    board = BusBoard(tmp_path / "board", bench_path, micropython, settings)
    yield board
    board.close()


def light(data: Path, wire: RealWire, device: str, ends: list[int]) -> LightBoard:
    """A light board on the wire, with a few records already."""
    board = LightBoard(device, key_of(data, device))
    board.endpoint = PolledEndpoint(device, board.log.stream, key_of(data, device), board.log)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    ends += [ours, theirs]
    wire.join(ours)
    board.plug(theirs)
    board.add(5)
    return board


@pytest.mark.link(
    "rs485",
    board="MicroPython, unix build, and light clients on the shared protocol",
    wire="simulated in real time between a pty and sockets: pace and collisions",
    host="meuse run",
)
def test_a_real_board_among_others_on_one_wire(board: BusBoard, tmp_path: Path) -> None:
    """The host is stopped and started again, a new board comes; every reading is stored, once."""
    data, ends = tmp_path / "data", list(pty.openpty())
    tty.setraw(ends[1])
    key = key_of(data, "bench-1")
    (board.folder / "key").write_bytes(key)
    bus = {"port": os.ttyname(ends[1]), "baud": BAUD, "poll": "200ms", "latency_ms": 30}
    lights: list[LightBoard] = []

    async def scene() -> None:
        wire = RealWire(BAUD, 1)
        wire.join(ends[0])
        board.start()
        wire.join(board.socket.fileno())
        lights.extend(light(data, wire, f"light-{n}", ends) for n in (1, 2))
        async with running(data, rs485=[bus], tcp={"listen": []}) as host:
            await until(lambda: len(host.bridge.presences.devices) == 3, "three boards are there", SECONDS)
            await until(lambda: host.bridge.presences.devices["bench-1"].records >= 20, "its readings", SECONDS)
            for one in lights:
                await one.drained(SECONDS)
        for one in lights:
            one.add(20)
        async with running(data, rs485=[bus], tcp={"listen": []}) as host:
            lights.append(light(data, wire, "light-3", ends))
            await until(lambda: len(host.bridge.presences.devices) == 4, "and a fourth", SECONDS)
            for one in lights:
                await one.drained(SECONDS)
            assert await board.stopped() == 0
            assert {session.name for session in host.bridge.sessions} == {f"rs485:{bus['port']}"}
        for one in lights:
            one.unplug()
        for fd in [ends[0], *ends[2::2]]:
            wire.leave(fd)
        wire.leave(board.socket.fileno())

    try:
        asyncio.run(scene())
    finally:
        for fd in ends:
            with suppress(OSError):
                os.close(fd)
    for one in lights:
        assert stored(data, one.log.stream) == one.log.created
    assert events(data).count("stream-bound") == 4
    complete(data, board)


@pytest.mark.link(
    "rs485", board="MicroPython, unix build", wire="simulated in real time, torn off and joined again", host="meuse run"
)
def test_a_wire_beside_a_network(board: BusBoard, tmp_path: Path) -> None:
    """Nobody tells the board that the wire is torn: it misses its turns, goes to the network, and comes back."""
    data, ends = tmp_path / "data", list(pty.openpty())
    tty.setraw(ends[1])
    (board.folder / "key").write_bytes(key_of(data, "bench-1"))
    bus = {"port": os.ttyname(ends[1]), "baud": BAUD, "poll": "200ms", "latency_ms": 30}

    async def scene() -> None:
        wire = RealWire(BAUD, 1)
        wire.join(ends[0])
        async with running(data, rs485=[bus]) as host:
            port = int(host.tcp[0].address.rpartition(":")[2])
            rs485 = {"kind": "rs485", "uart": 0, "baud": BAUD, "de": 5}
            tcp = {"kind": "tcp", "host": "localhost", "port": port}
            board.deploy({**copy.deepcopy(DEFAULT), "links": [rs485, tcp]})
            board.start()
            wire.join(board.socket.fileno())
            devices = host.bridge.presences.devices

            async def carries(link: str) -> None:
                """The host stores what comes there."""
                await until(lambda: devices.get("bench-1") and devices["bench-1"].link.startswith(link), link, SECONDS)
                before = devices["bench-1"].records
                await until(lambda: devices["bench-1"].records >= before + 10, f"readings by {link}", SECONDS)

            await carries("rs485")
            wire.leave(board.socket.fileno())
            await carries("tcp")
            wire.join(board.socket.fileno())
            await carries("rs485")
            assert await board.stopped() == 0
        wire.leave(ends[0])
        wire.leave(board.socket.fileno())

    try:
        asyncio.run(scene())
    finally:
        for fd in ends:
            with suppress(OSError):
                os.close(fd)
    complete(data, board)


def complete(data: Path, board: BusBoard) -> None:
    """What the sensors gave is what is stored, in order; the driver was on for turns only, and is off at the end."""
    ((stream,),) = ask(data, "SELECT stream FROM streams WHERE device = 'bench-1'")
    memory = Memory()
    memory.records = {(stream, seq): record for seq, record in stored(data, int(str(stream))).items()}
    assert memory.values(0) == board.served("flue")
    assert len(memory.values(0)) > 100
    levels = (board.folder / "pin.5").read_text()
    assert levels == "10" * (len(levels) // 2)
    assert levels
