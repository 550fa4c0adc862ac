"""An alarm survives the power cut that it may have warned of: flushed at once, delivered after the reboot, once.

Real firmware and log, the real host; simulated are the thermocouple, its wires and the flash chip. The board's flash
would wait an hour for anything but an alarm.
"""

import sqlite3
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import product
import pytest

from tests.end_to_end.river import MEUSE, Host, in_flash, provision, rows

from .virtual import VirtualBoard, wait_for

HIGH = 280
PRODUCT = f"""
product = "flue"
period = "100ms"
watchdog = "8s"
[batch]
max_age = "1s"
[log]
flush_records = 1000
flush_bytes = 8192
flush_age = "1h"
[buses.flue]
kind = "spi"
[channels.flue_temp]
driver = "max31855"
bus = "flue"
cs = 5
unit = "Cel"
decimals = 2
alarm_high = {HIGH}
[[links]]
kind = "serial"
uart = 1
"""
SCENARIO = """
name = "flue"
product = "flue.toml"
trace = "trace.csv"
heap = "256k"
[[device]]
name = "flue"
model = "max31855"
spi = 1
cs = 5
channel = "flue_temp"
decimals = 2
"""
ROWS = 4000  # a quarter of a degree more every 3 s of the trace, 50 ms of the test: no value is read twice


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path / "data", [str(tmp_path / "board/tty")]) as host:
        yield host


@pytest.fixture
def board(tmp_path: Path, host: Host, board_path: str) -> Iterator[VirtualBoard]:
    rising = [f"{3 * i},{float(Fraction(4 * HIGH - 100 + i, 4))}" for i in range(ROWS)]
    (tmp_path / "trace.csv").write_text("time,flue_temp[Cel;2]\n" + "\n".join(rising) + "\n")
    (tmp_path / "flue.toml").write_text(PRODUCT)
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    (tmp_path / "config.msgpack").write_bytes(product.compile_product(tmp_path / "flue.toml"))
    key = provision(host.data, "flue-1").read_text().strip()
    (tmp_path / "secret.bin").write_bytes(product.secret("flue-1", bytes.fromhex(key)))
    words = ["--scenario", str(tmp_path / "scenario.toml"), "--module", "alarm", "--path", board_path]
    words += [str(tmp_path / "flash.bin"), str(tmp_path)]
    with VirtualBoard(tmp_path / "board", "flue-1", *words) as board:
        yield board


def stored(data: Path) -> dict[int, str]:
    """The host's journal: seq -> record in hex; there is one stream only."""
    with sqlite3.connect(data / "journal.sqlite") as db:
        return {seq: bytes(record).hex() for seq, record in db.execute("SELECT seq, record FROM records")}


def values(data: Path) -> list[Fraction]:
    return [Fraction(row["value"]) for row in rows("--data", str(data), "--channel", "flue_temp") if row["value"]]


def test_an_alarm_is_in_flash_when_the_power_goes_and_comes_to_the_host_once(
    host: Host, board: VirtualBoard, board_path: str, micropython: str
) -> None:
    found = wait_for(lambda: [li for li in board.log().splitlines() if li.startswith("alarm ")], "an alarm in flash")
    seq, operations = map(int, found[0].split()[1:])
    served = [Fraction(str(line["value"])) for line in board.served()]
    assert [value for value in served if value >= HIGH] == served[-1:], "at once: no reading came before its flush"
    flash = board.folder.parent / "flash.bin"
    held = {number: record for (_, number), record in in_flash(flash, 64, micropython, board_path).items()}
    assert seq in held and operations, "the chip has completed it"
    assert seq not in stored(host.data), "the power goes before the board has sent it"
    board.control(do="kill")
    wait_for(lambda: seq in stored(host.data), "the alarm after the reboot")
    assert stored(host.data)[seq] == held[seq], "as it was in flash"
    wait_for(lambda: [value for value in values(host.data) if value > served[-1]], "readings of the second boot")
    assert board.stop() == 0, board.log()
    found_now = values(host.data)
    assert found_now.count(served[-1]) == 1, "the alarm is there once"
    assert len(found_now) == len(set(found_now)), "and so is every other reading"
    assert set(served) <= set(found_now), "those before it were flushed with it"
    gaps = rows("--data", str(host.data), "--gaps")
    assert [gap["reason"] for gap in gaps] == ["power_cut"], gaps
    assert int(gaps[0]["first_seq"]) > seq
    done = subprocess.run([str(MEUSE), "query", "--data", str(host.data), "--last"], capture_output=True, text=True)
    assert f"1 gap: up to {gaps[0]['records']} records are lost" in done.stderr, "nobody knows which were used"
