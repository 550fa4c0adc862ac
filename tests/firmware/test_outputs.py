"""What a board drives is safe first thing at boot; an output that cannot be driven costs no other its safe state."""

from collections.abc import Iterator
from pathlib import Path

import product
import pytest

from .desk import Desk, Port
from .virtual import ROOT, VirtualBoard, wait_for

OUTPUTS = """
[[outputs]]
name = "fan"
pin = 27
safe = 1

[[outputs]]
name = "lamp"
pin = 36

[[outputs]]
name = "pump"
pin = 2
safe = 1
"""  # after the stove's igniter (25) and auger (26); nothing drives pin 36 of an ESP32


@pytest.fixture
def board(tmp_path: Path, board_path: str) -> Iterator[VirtualBoard]:
    (tmp_path / "stove.toml").write_text((ROOT / "firmware/products/stove.toml").read_text() + OUTPUTS)
    (tmp_path / "config").write_bytes(product.compile_product(tmp_path / "stove.toml"))
    words = ["--scenario", str(ROOT / "firmware/sim/scenarios/stove.toml"), "--heap", "256k", "--module", "first"]
    words += ["--path", board_path, str(tmp_path / "flash.bin"), str(tmp_path / "config")]
    with VirtualBoard(tmp_path / "board", "unnamed", *words) as running:
        yield running


def boots(board: VirtualBoard) -> list[list[str]]:
    """What each boot did, in order, up to its first reading."""
    return [life.split("did ")[1:] for life in board.log().split("did boot\n")[1:]]


def test_outputs_are_safe_before_anything_else_is_touched(board: VirtualBoard) -> None:
    desk = Desk("unnamed", Port(board.folder / "tty"))
    for boot in (1, 2):
        wait_for(lambda boot=boot: len(boots(board)) == boot and "WDT\n" in boots(board)[-1], "a board at work")
        done = [line.strip() for line in boots(board)[-1]]
        driven = ["pin 25 drives 0", "pin 26 drives 0", "pin 27 drives 1", "pin 2 drives 1"]
        assert done[:4] == driven, "in the order of the product, and the bad one in the middle left out"
        assert {"flash", "UART", "SPI", "I2C", "pin 4 is used"} <= set(done[4:]), "log, link, buses come later"
        assert not [line for line in done[4:] if line.startswith(("pin 25", "pin 26", "pin 27", "pin 2 "))]
        assert board.status()["outputs"].items() >= {"25": 0, "26": 0, "27": 1, "2": 1}.items()
        if boot == 1:
            board.control(do="kill")
    desk.until(lambda: desk.connected, "the cable")
    desk.type("status")
    desk.until(lambda: "PROBLEM  output lamp cannot be driven" in desk.text, "the technician is told")
    assert board.status()["crashes"] == 0
    desk.close()
