"""Fifty strangers flood the host's port; a real board keeps its link meanwhile, and the host stops when told."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.river import Host, board
from tests.firmware.virtual import wait_for

FLOOD = Path(__file__).with_name("flood.py")
STRANGERS = 50
RECORDS = 20  # a batch every half second: ten seconds of flood where nothing is in the way


def ask(data: Path, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(data / "journal.sqlite") as db:
        return db.execute(sql).fetchall()


@pytest.mark.link("tcp", board="MicroPython, unix build", wire="loopback, 50 flooding connections", host="meuse run")
def test_a_board_is_served_while_strangers_flood(tmp_path: Path) -> None:
    data = tmp_path / "data"

    def count() -> int:
        return int(str(ask(data, "SELECT count(*) FROM records")[0][0]))

    with Host(data) as host, board(tmp_path, "weather", data, host.port) as weather:
        wait_for(lambda: count() > 2, "the board is there", 60)
        words = [sys.executable, str(FLOOD), str(host.port), str(STRANGERS)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as flood:
            try:
                assert flood.stdout is not None and flood.stdout.readline() == b"flooding\n"
                before = count()
                wait_for(lambda: count() >= before + RECORDS, "its records are stored", 120)
                assert flood.stdout.readline() == b"100\n"  # they are sent away, and come again
                assert weather.stop(60) == 0  # which it is only when all it had was acknowledged
                host.stop()
            finally:
                flood.kill()
    events = ask(data, "SELECT kind FROM events WHERE device IS NOT NULL ORDER BY id")
    assert events.count(("link-up",)) == 1, events
    assert not ask(data, "SELECT * FROM gaps")
