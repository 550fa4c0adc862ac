"""A wrong `config set` locks nobody out: the board keeps a way in, and takes back what it was not reached with."""

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from .peer import DEFAULT, Board, TcpBoard


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path, bench_path, micropython, copy.deepcopy(DEFAULT))
    yield board
    board.close()


def changes(board: Board) -> dict[str, Any]:
    """What was changed on this board: key -> value, proven and on trial."""
    _, _, payload = msgpack.unpackb((board.folder / "config.msgpack.changes").read_bytes())
    _, tries, kept, new = msgpack.unpackb(payload)
    return {"tries": tries, "kept": kept, "new": new}


def test_a_link_that_cannot_be_made_leaves_a_console_and_is_taken_back(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 3)
    board.ask("", "Type help")
    assert "stored" in board.ask("config set links.uart.uart 7", "stored")
    board.kill()
    for _ in range(3):
        board.start()
        assert "PROBLEM  link uart: UART(7) does not exist" in board.ask("status", "PROBLEM")
        board.kill()
    before = len(board.memory.values(0))
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= before + 3)
    assert "PROBLEM  taken back: links.0.uart" in board.ask("status", "PROBLEM")
    assert "links.uart.uart = 0" in board.ask("config get links.uart.uart", "uart =")


@pytest.mark.parametrize("key", ["links.uart.max_pdu 1", "watchdog_ms 1", "groups.every_50ms.period_ms 1"])
def test_what_would_cut_the_board_off_is_refused(board: Board, key: str) -> None:
    settings = copy.deepcopy(DEFAULT)
    board.deploy({**settings, "watchdog_ms": 8000})
    board.start()
    assert "' is " in board.ask(f"config set {key}", "' is ")
    assert not (board.folder / "config.msgpack.changes").exists()


def test_the_console_works_however_small_the_packets_are(board: Board) -> None:
    settings = copy.deepcopy(DEFAULT)
    settings["links"][0]["max_pdu"] = 1
    board.deploy(settings)
    board.start()
    assert "stored" in board.ask("config set groups.every_50ms.max_age_ms 100", "stored")


def test_a_change_is_there_to_stay_once_the_board_was_reached_for_a_minute(board: Board) -> None:
    (board.folder / "speed").write_text("20")
    board.start()
    assert "stored" in board.ask("config set groups.every_50ms.max_age_ms 100", "stored")
    assert changes(board) == {"tries": 0, "kept": [], "new": ["groups.0.max_age_ms", 100]}
    board.send(b"reboot\r")
    assert board.wait() == 7
    board.memory.device = "another-1"  # a host that refuses this board, so that nobody has reached it
    board.start()
    board.until(lambda: changes(board)["tries"] == 1)
    board.until(lambda: board.frames > 0)
    board.memory.device = "bench-1"
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) > before)
    board.until(lambda: changes(board) == {"tries": 0, "kept": ["groups.0.max_age_ms", 100], "new": []})
    board.kill()
    for _ in range(5):
        board.start()
        board.until(lambda: "= 100" in board.ask("config get groups.every_50ms.max_age_ms", "max_age_ms ="))
        board.kill()


def test_a_value_may_have_spaces_or_be_empty(board: Board) -> None:
    settings = copy.deepcopy(DEFAULT)
    settings["links"][0]["ssid"] = "home"
    board.deploy(settings)
    board.start()
    for typed, told in (("Guest net", "Guest net"), ('" two "', " two "), ('""', "")):
        assert "stored" in board.ask(f"config set links.uart.ssid {typed}", "stored")
        assert board.ask("config get links.uart.ssid", "ssid =").endswith(f"ssid = {told}")


def far_board(folder: Path, path: str, micropython: str) -> TcpBoard:
    """Its ten minutes pass in six seconds, and it reads once a second of its own."""
    settings = copy.deepcopy(DEFAULT)
    settings["groups"][0].update(period_ms=1000, tick_ms=1000, max_age_ms=5000)
    (folder / "speed").write_text("100")
    return TcpBoard(folder, path, micropython, settings)


def test_a_link_that_leads_nowhere_is_taken_back_by_itself(bench_path: str, micropython: str, tmp_path: Path) -> None:
    """Nobody is at the console, and no host answers: after ten minutes the board starts again with what it had."""
    board = far_board(tmp_path, bench_path, micropython)
    with contextlib.closing(board):
        board.listen()
        board.start()
        board.until(lambda: len(board.memory.values(0)) >= 3)
        board.socket = board.cable
        assert "stored" in board.ask("config set links.tcp.port 1", "stored")
        board.kill()
        board.start()
        assert board.wait(120) == 7, "a reboot"
        board.start()
        before = len(board.memory.values(0))
        board.until(lambda: len(board.memory.values(0)) >= before + 3)
        board.socket = board.cable
        assert "PROBLEM  taken back: links.0.port" in board.ask("status", "PROBLEM")


def test_a_board_that_was_reached_keeps_its_change_though_the_host_goes_away(
    bench_path: str, micropython: str, tmp_path: Path
) -> None:
    board = far_board(tmp_path, bench_path, micropython)
    with contextlib.closing(board):
        board.start()
        assert "stored" in board.ask("config set links.tcp.max_pdu 512", "stored")
        board.kill()
        board.listen()
        board.start()
        board.until(lambda: len(board.memory.values(0)) >= 3)
        board.deaf()
        board.until(lambda: changes(board)["kept"] == ["links.0.max_pdu", 512])
        board.until(lambda: re.search(r"up +(1[1-9]|[2-9]\d) min", board.ask("time", "boot ")))
        assert board.process and board.process.poll() is None
