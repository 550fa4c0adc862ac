"""The way from power-on to the application, and what a crash leaves behind, on a virtual board."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .virtual import VirtualBoard, wait_for

SCENARIO = """
name = "bare"
product = "none.toml"
trace = "trace.csv"
heap = "256k"
[[device]]
name = "door"
model = "switch"
pins = [13]
channel = "door"
decimals = 0
"""


@pytest.fixture
def board(tmp_path: Path, board_path: str) -> Iterator[VirtualBoard]:
    (tmp_path / "trace.csv").write_text("time,door[;0]\n0,0\n10,1\n")
    (tmp_path / "bare.toml").write_text(SCENARIO)
    words = ["--scenario", str(tmp_path / "bare.toml"), "--module", "crash", "--path", board_path]
    with VirtualBoard(tmp_path / "board", "bare-1", *words, str(tmp_path / "flash.bin")) as running:
        yield running


def test_a_crash_is_reset_and_told_as_a_record(board: VirtualBoard) -> None:
    wait_for(lambda: board.status()["starts"] == 2, "a reset")

    def told() -> list[str]:
        return [line for line in board.log().split("\n") if "b'" in line and "ZeroDivisionError: on purpose" in line]

    wait_for(told, "records")
    assert len(told()) == 1
    assert board.status()["resets"] == 1
    assert board.status()["watchdog_bites"] == 0, "a crash is a crash, not a hang"
    assert "meter 41" in board.log()
    assert "in RAM only" in board.log(), "what was in RAM went to flash before the reset"
    assert board.status()["crashes"] == 0
