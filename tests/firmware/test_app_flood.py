"""A peer that never stops talking costs the board no reading, on either wire, with frames or with noise."""

import copy
from pathlib import Path
from typing import Any

import pytest
from meuse_protocol.columns_decode import decode
from meuse_protocol.framing import frame
from meuse_protocol.messages import DATA

from .peer import DEFAULT, Board, TcpBoard

PERIOD_MS = 200
ROWS = 12  # of the time under flood
FLOODS = {
    "frames": frame(b"\x93\x7f\x01\x02") * 2000,  # whole, and of nobody: the endpoint throws them away
    "noise": b"\x91" * 40 + b"\0" + bytes(range(200, 250)) * 400 + b"\0",
    "text": b"rst:0x1 (POWERON_RESET)\r\n" * 800,
}


class Hose:
    """Keeps a wire full of `water`, piece after piece without a gap."""

    def __init__(self, board: Board, water: bytes) -> None:
        self._board = board
        self._water = water
        self._at = 0
        self.sent_bytes = 0

    def open(self) -> None:
        while True:
            try:
                sent = self._board.socket.send(self._water[self._at :])
            except (BlockingIOError, ConnectionError):
                return
            self.sent_bytes += sent
            self._at = (self._at + sent) % len(self._water)


def slower() -> dict[str, Any]:
    settings = copy.deepcopy(DEFAULT)
    settings["groups"][0].update(period_ms=PERIOD_MS, tick_ms=PERIOD_MS)
    return settings


@pytest.mark.parametrize("case", ["serial noise", "serial text", "tcp frames", "tcp noise"])
def test_a_flood_stops_no_reading(bench_path: str, micropython: str, tmp_path: Path, case: str) -> None:
    wire, water = case.split()
    board = (TcpBoard if wire == "tcp" else Board)(tmp_path, bench_path, micropython, slower())
    try:
        if isinstance(board, TcpBoard):
            board.listen()
        board.start()
        board.until(lambda: len(board.memory.values(0)) >= 5, 60)
        assert board.connected
        board.listening = False  # this end only talks
        before = len(board.served("flue"))
        hose = Hose(board, FLOODS[water])

        def flooded() -> bool:
            hose.open()
            return len(board.served("flue")) >= before + ROWS

        board.until(flooded, 60)
        board.send(b"\0")
        board.plug()
        board.listening = True
        board.until(lambda: len(board.memory.values(0)) >= before + ROWS + 2, 60)
        assert board.stop() == 0
        assert board.memory.values(0) == board.served("flue")
    finally:
        board.close()
    assert hose.sent_bytes > 200_000, "more than any buffer on the way holds"
    ticks = [t for f in board.memory.fields(DATA) for t in decode(f)[0]]
    assert len(board.memory.values(0)) > 0.8 * (max(ticks) - min(ticks) + 1), "readings that were due and not taken"
