"""The application on real MicroPython over TCP: it finds its host, loses it, finds it again, and loses no reading."""

import contextlib
import copy
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse_protocol.messages import DATA, HELLO

from .peer import DEFAULT, TcpBoard


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[TcpBoard]:
    board = TcpBoard(tmp_path, bench_path, micropython, copy.deepcopy(DEFAULT))
    yield board
    board.close()


def complete(board: TcpBoard) -> None:
    """Everything that the board numbered is stored, and nothing was announced as lost."""
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq
    assert board.memory.gaps == []
    assert board.memory.values(0) == board.served("flue")


def test_readings_arrive_over_tcp(board: TcpBoard) -> None:
    board.memory.key = bytes(range(32))
    (board.folder / "key").write_bytes(board.memory.key)
    board.listen()
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 20)
    assert board.connects == 1
    assert board.stop() == 0
    complete(board)
    assert set(board.memory.values(0)) == {215}
    assert board.damaged == 0


def test_a_host_that_starts_late_or_again_is_found(board: TcpBoard) -> None:
    board.start()
    time.sleep(1)  # connection refused, more than once
    board.listen()
    board.until(lambda: len(board.memory.values(0)) >= 20)
    board.deaf()
    time.sleep(1)
    board.listen()
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 20)
    assert board.connects == 2
    assert board.kinds[0] == HELLO, "a new connection begins with who is speaking"
    assert board.stop() == 0
    complete(board)


def test_a_host_that_only_listens_is_left_after_a_while(board: TcpBoard) -> None:
    """Half open: the connection stands, but nobody stores. Only missing acknowledgements can tell."""
    board.listen()
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.listening = False
    board.until(lambda: board.connects == 2)
    board.listening = True
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 20)
    assert board.stop() == 0
    complete(board)


def test_garbage_from_the_network_changes_nothing(board: TcpBoard) -> None:
    board.listen()
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.send(b"HTTP/1.1 400 Bad Request\r\n\r\n\0" + bytes(range(256)) * 10 + b"\0")
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 20)
    assert board.connects == 1
    assert board.stop() == 0
    complete(board)


def test_the_cable_of_a_board_on_the_network_is_a_console(board: TcpBoard) -> None:
    board.listen()
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    network, board.socket = board.socket, board.cable
    assert "Type help" in board.ask("", "Type help")
    links = board.ask("links", "console")
    assert f"localhost:{board.port}" in links
    board.socket = network
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 10)


def test_a_host_that_refuses_the_board_is_a_problem_in_words_until_it_takes_it(board: TcpBoard) -> None:
    board.memory.device = "another"  # a host that was never told of this board
    board.listen()
    board.start()

    def links() -> list[str]:
        """Asked by cable, while the connection goes on."""
        network, board.socket = board.socket, board.cable
        found = board.ask("links", "console only").split("\n")
        board.socket = network
        return [line for line in found if line.startswith("PROBLEM")]

    board.until(lambda: board.host.counters.get("unknown_device"))
    told = board.until(links)
    assert told == ["PROBLEM  the host refuses this board: unknown device (code 6)"], "once, not per link"
    board.memory.device = "bench-1"
    board.until(lambda: board.memory.values(0))
    board.until(lambda: not links())


def test_a_name_server_is_asked_without_waiting_for_it(board: TcpBoard) -> None:
    """First it is silent, then it answers; readings are taken all the time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        (board.folder / "name_server").write_text(str(server.getsockname()[1]))
        board.listen()
        board.start()
        asked: list[tuple[bytes, tuple[str, int]]] = []

        def hear() -> bool:
            with contextlib.suppress(BlockingIOError):
                asked.append(server.recvfrom(512))
            return len(asked) > 1

        board.until(hear)
        question, address = asked[-1]
        assert question[12:] == b"\x09localhost\0\0\1\0\1"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
        server.sendto(b"\xff\xff" + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + record, address)  # not this question
        server.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + record, address)
        board.until(lambda: board.memory.values(0))
        board.until(lambda: len(board.memory.values(0)) >= 30)
    times = [f[5] for f in board.memory.fields(DATA)]
    assert times[0] > -30, "readings began with the boot, not with the answer"
    complete_so_far = next(iter(board.memory.streams.values()))
    assert not board.memory.gaps and complete_so_far.cum > 3
