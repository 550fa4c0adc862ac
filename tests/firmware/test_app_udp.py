"""The application on real MicroPython over UDP: it finds its host, loses it, looks again, and loses no reading."""

import copy
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from meuse_protocol.messages import HELLO, PING, head

from .peer import DEFAULT, UdpBoard

Make = Callable[..., UdpBoard]


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = []

    def one(settings: dict[str, object] | None = None, **link: object) -> UdpBoard:
        made.append(UdpBoard(tmp_path, bench_path, micropython, copy.deepcopy(DEFAULT) | (settings or {}), **link))
        return made[-1]

    yield one
    for board in made:
        board.close()


def complete(board: UdpBoard) -> None:
    """Everything that the board numbered is stored, and nothing was announced as lost."""
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq
    assert board.memory.gaps == []
    assert board.memory.values(0) == board.served("flue")


@pytest.mark.link(
    "udp", board="MicroPython, unix build", wire="UDP sockets on loopback", host="the shared protocol, in memory"
)
def test_a_host_that_starts_late_or_again_is_found(make: Make) -> None:
    board = make()
    board.start()
    board.until(lambda: (board.folder / "served.flue").exists())  # it reads its sensors and is refused meanwhile
    board.listen()
    board.until(lambda: len(board.memory.values(0)) >= 20, 20)
    board.deaf()
    ports = len(board.ports)
    refused = len(board.served("flue"))
    board.until(lambda: len(board.served("flue")) >= refused + 20, 20)
    board.listen()
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 20, 30)
    assert len(board.ports) > ports, "refused, it speaks anew from another port"
    assert board.kinds[0] == HELLO
    assert board.stop() == 0
    complete(board)


def answer(server: socket.socket, question: bytes, address: tuple[str, int]) -> None:
    """localhost is 127.0.0.1."""
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
    server.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + record, address)


def test_after_long_silence_the_name_is_asked_for_again_and_it_speaks_from_another_port(make: Make) -> None:
    board = make()
    asked = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        (board.folder / "name_server").write_text(str(server.getsockname()[1]))

        def look_up() -> int:
            nonlocal asked
            try:
                question, address = server.recvfrom(512)
            except BlockingIOError:
                return asked
            answer(server, question, address)
            asked += 1
            return asked

        board.listen()
        board.start()
        board.until(lambda: look_up() and len(board.memory.values(0)) >= 5, 20)
        assert asked == len(board.ports) == 1
        board.listening = False
        board.until(lambda: look_up() == 2, 40)
        board.listening = True
        before = len(board.memory.values(0))
        board.until(lambda: look_up() and len(board.memory.values(0)) >= before + 20, 30)
    assert len(board.ports) == 2
    assert board.stop() == 0
    complete(board)


def test_an_idle_board_keeps_its_way_back_open_where_it_is_told_to(make: Make) -> None:
    hourly = copy.deepcopy(DEFAULT["groups"])
    hourly[0]["period_ms"] = 3_600_000
    board = make({"groups": hourly}, keep_alive_ms=300)
    board.utc_ms = 1_790_000_000_000
    board.listen()
    board.start()
    board.until(lambda: board.kinds.count(PING) >= 6, 30)
    pings = [packet for packet in board.packets if packet[1] == PING]
    assert {head(packet)[1] for packet in pings} == {0}, "from a new address it is asked who it is"
    assert {len(packet) for packet in pings} == {11}


def test_a_board_without_a_key_says_why_nobody_listens(make: Make) -> None:
    board = make()
    (board.folder / "key").unlink()
    board.start()
    assert f"PROBLEM  udp to localhost:{board.port}: no host believes a board without a key" in board.ask(
        "status", "PROBLEM"
    )
