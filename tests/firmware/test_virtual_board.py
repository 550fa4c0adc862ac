"""The board's supply, resets and watchdog in the simulated world, and the hands that reach into it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .virtual import ROOT, VirtualBoard, wait_for

SCENARIO = """
name = "bare"
product = "none.toml"
trace = "trace.csv"
[[device]]
name = "door"
model = "switch"
pins = [13]
channel = "door"
decimals = 0
[[fault]]
target = "door"
kind = "stuck"
"""
SCRIPT = ROOT / "firmware/sim/virtual_board.py"
POWER_ON, RESET, WATCHDOG = "1", "2", "3"


@pytest.fixture
def options(tmp_path: Path, board_path: str) -> list[str]:
    (tmp_path / "trace.csv").write_text("time,door[;0]\n0,0\n10,1\n")
    (tmp_path / "bare.toml").write_text(SCENARIO)
    words = ["--scenario", str(tmp_path / "bare.toml"), "--module", "misbehave", "--path", board_path]
    return [*words, str(tmp_path / "lives")]


@pytest.fixture
def board(tmp_path: Path, options: list[str]) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path / "board", "bare-1", *options) as running:
        yield running


def lives(board: VirtualBoard) -> list[str]:
    path = board.folder.parent / "lives"
    return path.read_text().split() if path.exists() else []


def test_each_end_of_a_life_gives_the_next_one_its_cause(board: VirtualBoard) -> None:
    wait_for(lambda: len(lives(board)) == 4, "four lives")
    assert lives(board) == [POWER_ON, RESET, WATCHDOG, RESET]
    assert not (board.folder.parent / "lives.not-reset").exists()
    assert (board.folder.parent / "lives.fed").exists(), "a fed watchdog does not bite"
    assert "ValueError: a bug" in board.log()
    status = board.status()
    assert (status["resets"], status["watchdog_bites"], status["crashes"], status["starts"]) == (1, 1, 1, 4)
    wait_for(lambda: board.status()["outputs"] == {"25": 1}, "an output")
    board.control(do="kill")
    wait_for(lambda: len(lives(board)) == 5, "a life after the power cut")
    board.control(do="off")
    wait_for(lambda: board.status()["pid"] is None, "darkness")
    assert board.status()["outputs"] == {"25": 1}, "noted until the next start"
    board.control(do="on")
    wait_for(lambda: len(lives(board)) == 6, "light")
    assert lives(board)[4:] == [POWER_ON, POWER_ON]
    wait_for(lambda: board.status()["outputs"] == {"25": 1}, "the board at work")
    assert board.stop() == 0


def test_commands_that_cannot_be_done_say_why(board: VirtualBoard) -> None:
    for line, answer in (
        (b"nonsense\n", "JSONDecodeError"),
        (b"[1]\n", "a JSON object"),
        (b'{"do": "fly"}\n', "`do` is one of unplug"),
        (b'{"do": "fault", "name": "roof", "on": true}\n', "roof"),
        (b'{"do": "noise", "bytes": -1}\n', "from 1 to 65536"),
    ):
        with socket.socket(socket.AF_UNIX) as s:
            path = board.folder / "control"
            s.connect(str(path.readlink()) if path.is_symlink() else str(path))
            s.sendall(line)
            told = json.loads(s.makefile().readline())
        assert told["ok"] is False
        assert answer in told["error"]


def test_two_worlds_cannot_play_one_board(board: VirtualBoard, options: list[str]) -> None:
    command = [sys.executable, str(SCRIPT), "--dir", str(board.folder), "--device", "bare-1", *options]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "another virtual board runs here; stop it first" in second.stderr
    assert board.status()["powered"]


def test_without_an_interpreter_it_says_how_to_get_one(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, str(SCRIPT), "--dir", str(tmp_path / "b"), "--device", "b", "--micropython", "/none"]
    told = subprocess.run([*command, *options], capture_output=True, text=True, timeout=30)
    assert told.returncode == 1
    assert "run `make setup`, or name one with MICROPYTHON=path" in told.stderr
