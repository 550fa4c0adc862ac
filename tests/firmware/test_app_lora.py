"""The application on real MicroPython over LoRa: the real driver on a chip at register level, on an air that loses."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meuse_protocol.messages import HELLO

from .lora_board import LoraBoard
from .peer import DEFAULT

Make = Callable[..., LoraBoard]
BOARD = "MicroPython, unix build"
AIR = "simulated: SX127x at register level, time on the air, 20 % lost, 5 % damaged"


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = []

    def one(lose: float = 0.0, **link: object) -> LoraBoard:
        settings: dict[str, Any] = copy.deepcopy(DEFAULT)
        settings["groups"][0].update(period_ms=1000, tick_ms=1000, max_age_ms=6000)
        made.append(LoraBoard(tmp_path, bench_path, micropython, settings, lose, **link))
        return made[-1]

    yield one
    for board in made:
        board.close()


def arrived(board: LoraBoard, count: int) -> None:
    """Waits for so many values in records without a hole; they are what the sensor gave, in order."""
    streams = board.memory.streams
    whole = lambda: streams and all(state.cum > state.received.last() for state in streams.values())  # noqa: E731
    board.until(lambda: whole() and len(board.memory.values(0)) >= count)
    values = board.memory.values(0)
    assert values == board.served("flue")[: len(values)]
    assert board.memory.gaps == []


@pytest.mark.link("lora", board=BOARD, wire=AIR, host="the shared protocol, in memory, behind the same link as gateway")
def test_readings_arrive_over_an_air_that_loses(make: Make) -> None:
    board = make(lose=0.2)
    board.start()
    arrived(board, 60)
    assert board.kinds[0] == HELLO
    assert board.air.lost + board.air.damaged > 0
    assert "lora at 868.1 MHz, SF7" in board.ask("links", "serial")


def test_slow_packets_of_51_bytes_carry_batches_in_parts(make: Make) -> None:
    board = make(max_pdu=51)
    board.start()
    arrived(board, 30)


def test_a_radio_that_loses_its_supply_is_begun_anew(make: Make) -> None:
    board = make()
    board.chip.broken = True
    board.start()
    board.until(lambda: "no SX127x answers" in board.ask("links", "serial"))
    board.chip.broken = False
    arrived(board, 10)
    board.chip.power_on()
    arrived(board, len(board.memory.values(0)) + 20)
