"""The application on real MicroPython at the end of a serial cable: readings flow, people work, noise does nothing."""

import copy
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse_protocol.messages import ANCHOR, BOOT, GAP, SCHEMA

from .peer import DEFAULT, Board


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path, bench_path, micropython, copy.deepcopy(DEFAULT))
    yield board
    board.close()


def test_readings_arrive_and_a_stop_leaves_nothing_behind(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 20)
    board.values(flue=216, water=[-3])
    board.until(lambda: [-3] in board.memory.values(1))
    assert board.stop() == 0
    flue, water = board.memory.values(0), board.memory.values(1)
    assert flue == board.served("flue"), "value for value, and none missing"
    assert water == board.served("water")
    assert set(flue) == {215, 216}
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq == max(seq for _, seq in board.memory.records) + 1
    assert board.memory.fields(BOOT)[0][3:5] == [1, 1]
    assert board.memory.fields(SCHEMA)[0][3:] == [1, "every_50ms", 50, [["flue", "Cel", -1], ["water", "Cel", -2]]]
    assert board.damaged == 0


def test_time_comes_late_and_rows_before_it_count_from_the_boot(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.utc_ms = 1_790_000_000_000
    board.until(lambda: board.memory.fields(ANCHOR))
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) > before + 10)
    assert board.stop() == 0
    _, _, _, uptime_ms, utc_ms, err_ms, boot = board.memory.fields(ANCHOR)[0]
    assert 0 < uptime_ms < 60_000
    assert abs(utc_ms - 1_790_000_000_000) <= 60_000
    assert 0 < err_ms < 1000
    assert boot == 1
    starts = [f[5] for f in board.memory.fields(1)]
    assert starts[0] < 0
    assert starts[-1] * 50 > 1_789_999_900_000


def test_a_technician_at_work(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    hello = board.ask("", "Type help")
    assert "bench-1" in hello
    frames = board.frames
    assert "reboot" in board.ask("help", "reboot")
    status = board.ask("status", "memory")
    assert "0.1.0 bench 1" in status
    assert "2 of 2 channels give a value" in status
    assert "boot 1 (power on)" in status
    assert "21.5 Cel" in (sensors := board.ask("sensors", "water"))
    assert "41.80 Cel" in sensors
    assert "up" in board.ask("links", "sent")
    assert "records wait" in board.ask("log", "damaged flash")
    assert "unknown" in board.ask("time", "time  ")
    assert "Type help" in board.ask("stauts", "is no command")
    assert board.frames == frames, "frames while somebody types"
    board.values(flue=333, water=4180)
    board.until(lambda: "33.3" in board.ask("sensors", "water"))
    assert "flow again" in board.ask("frames on", "flow")
    board.until(lambda: board.frames > frames)
    board.until(lambda: 333 in board.memory.values(0))
    assert board.damaged == 0


def test_every_command_is_in_the_help_and_in_its_page(root: Path, board: Board) -> None:
    source = (root / "firmware/meuse_board/typed.py").read_text()
    commands = {name for names in re.findall(r'in "([a-z ]+)"\.split', source) for name in names.split()} - {"hello"}
    board.start()
    board.ask("", "Type help")
    told = board.ask("help", "reboot")
    page = (root / "docs/console.md").read_text()
    assert len(commands) == 10
    for command in commands:
        assert f"`{command}" in page, command
        assert command == "help" or f"\n{command} " in told, command


def test_typing_slowly_is_echoed_and_mistakes_can_be_deleted(board: Board) -> None:
    board.start()
    board.ask("", "Type help")
    board.until(lambda: not board.text.clear() and True)
    for key in b"sx\btu\x7f\x7ftatus":
        board.send(bytes((key,)))
        board.poll()
    board.send(b"\r")
    board.until(lambda: any("memory" in t for t in board.text))


def test_settings_are_shown_changed_and_kept_but_never_the_key(board: Board) -> None:
    board.memory.key = bytes(range(32))
    (board.folder / "key").write_bytes(board.memory.key)
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.ask("", "Type help")
    assert "links.uart.max_pdu = 1024" in board.ask("config get", "max_pdu")
    assert "no setting" in board.ask("config get nothing", "no setting")
    assert "say: config get" in board.ask("config", "say:")
    assert "part of the product" in board.ask("config set groups.every_50ms.name x", "product")
    assert "stored" in board.ask("config set groups.every_50ms.max_age_ms 100", "stored")
    assert "already" in board.ask("config set groups.every_50ms.max_age_ms 100", "already")
    board.send(b"reboot\r")
    assert board.wait() == 7
    everything = "\n".join(board.text)
    for secret in (board.memory.key.hex(), repr(board.memory.key), str(list(board.memory.key))):
        assert secret not in everything
    board.start()
    board.until(lambda: len(board.memory.fields(BOOT)) == 2)
    assert "= 100" in board.ask("config get groups.every_50ms.max_age_ms", "max_age_ms =")


def test_a_reboot_keeps_the_log_and_numbers_go_on(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.listening = False
    board.ask("", "Type help")
    time.sleep(0.5)  # readings go on while somebody works: this is their time
    board.send(b"reboot\r")
    assert board.wait() == 7
    board.listening = True
    board.values(flue=400, water=1)
    board.start()
    board.until(lambda: 400 in board.memory.values(0))
    assert board.stop() == 0
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq
    assert board.memory.fields(GAP) == [], "a clean reboot loses nothing"
    assert [f[3] for f in board.memory.fields(BOOT)] == [1, 2]
    assert len(board.memory.fields(SCHEMA)) == 1
    assert board.memory.values(0) == board.served("flue")


def test_a_damaged_flash_costs_what_is_damaged_and_says_so(board: Board) -> None:
    """Bytes that look like heads of long records: to look through them takes one pass of the board after another."""
    board.listening = False
    board.start()
    board.until(lambda: (board.folder / "served.flue").exists() and len(board.served("flue")) >= 120)
    board.ask("", "Type help")
    board.send(b"reboot\r")
    assert board.wait() == 7
    (segment,) = (board.folder / "log").glob("0*")
    damaged = segment.stat().st_size // 2
    with segment.open("r+b") as f:
        f.write((b"\x00\x80\x90\x00" * damaged)[:damaged])
    board.listening = True
    board.values(flue=400, water=1)
    board.start()
    board.until(lambda: board.memory.fields(GAP) and 400 in board.memory.values(0))
    (state,) = board.memory.streams.values()
    board.until(lambda: state.cum == state.next_seq)
    assert board.stop() == 0
    (gap,) = board.memory.fields(GAP)
    assert gap[3:6] == [1, gap[4], 3], "from the first on; 3 is corrupt flash"
    assert not [seq for _, seq in board.memory.records if seq <= gap[4]]
    stored, served = board.memory.values(0, 1), board.served("flue")
    assert len(stored) > 40 and stored == served[-len(stored) :], "all that came after it is there"


def test_killed_and_started_again_it_is_the_same_board(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.kill()
    board.start()
    board.until(lambda: len(board.memory.fields(BOOT)) == 2)
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) > before)
    assert board.stop() == 0
    assert len(board.memory.streams) == 1
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq, "what was lost in RAM is announced"


def test_a_meter_never_goes_back_behind_what_the_log_says(board: Board) -> None:
    settings = copy.deepcopy(DEFAULT)
    settings["groups"][0]["channels"][0]["counts"] = True
    board.deploy({**settings, "log": {"flush_age_ms": 300}})
    board.listening = False  # so that only what is on flash outlives the cut
    board.start()
    for cut in range(1, 4):
        more = 20 * cut
        board.until(lambda more=more: (board.folder / "served.flue").exists() and len(board.served("flue")) > more)
        board.kill()
        board.start()
    board.listening = True
    reached = max(board.served("flue"))
    board.until(lambda: board.memory.values(0) and board.memory.values(0)[-1] > reached + 5)
    values = board.memory.values(0)
    assert len(values) > 30
    assert values == sorted(set(values)), "totals that were reported and then taken back"


def test_garbage_on_the_line_changes_nothing_but_counters(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.send(b"\0ets Jul 29 2019 12:21:46\r\nrst:0x1 (POWERON_RESET)\r\n")
    board.send(bytes(range(1, 256)) * 20 + b"\0")
    board.send(b"\0" + b"\x91" * 5000 + b"\0")
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) > before + 20)
    assert not board.text
    # 2 x 20 pieces between the line ends in the noise, its last one, and a frame too long.
    assert ", 42 damaged," in board.ask("links", "damaged")
    assert board.stop() == 0


def test_a_host_that_goes_away_costs_no_reading(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    board.listening = False
    until = time.monotonic() + 2
    while time.monotonic() < until:
        board.poll()
    board.plug()
    board.listening = True
    board.until(lambda: len(board.memory.values(0)) >= 40)
    assert board.stop() == 0
    (state,) = board.memory.streams.values()
    assert state.cum == state.next_seq
    assert not board.memory.gaps
    assert board.memory.values(0) == board.served("flue")


def test_a_cable_that_is_gone_does_not_keep_the_board_busy(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 5)
    assert board.process
    board.socket.close()
    stat = Path(f"/proc/{board.process.pid}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))

    began = ticks()
    time.sleep(2)  # the time in which it must not be busy
    assert board.process.poll() is None
    assert ticks() - began < 100, "hundredths of a second of processor time in two seconds"


def test_a_board_the_host_does_not_know_says_so(board: Board) -> None:
    board.memory.device = "another-1"
    board.start()
    board.until(lambda: board.frames >= 3)
    board.ask("", "Type help")
    board.ask("links", "PROBLEM  the host refuses this board: unknown device")
    board.memory.device = "bench-1"
    board.ask("frames on", "flow")
    board.until(lambda: len(board.memory.values(0)) >= 5, 70)
    board.ask("", "Type help")
    assert "refuses" not in board.ask("links", "serial,") + board.ask("status", "memory")


def test_sensors_that_fail_are_told_in_plain_words(board: Board) -> None:
    settings = copy.deepcopy(DEFAULT)
    settings["groups"][0]["channels"] += [
        {"name": "gone", "unit": "Cel", "exp": 0, "driver": "table", "broken": True},
        {"name": "raises", "unit": "Cel", "exp": 0, "driver": "table"},
        {"name": "nothing", "unit": "Cel", "exp": 0, "driver": "no_such_driver"},
    ]
    board.deploy(settings)
    board.values(flue=1, water=2, raises="bus stuck")
    board.start()
    board.until(lambda: board.memory.values(2))
    assert board.memory.values(0)[-1] == 1
    assert board.memory.values(2)[-1] == [-1]
    assert board.memory.values(3)[-1] == [-2]
    assert board.memory.values(4)[-1] == [-1]
    board.ask("", "Type help")
    status = board.ask("status", "no_such_driver")
    assert "2 of 5 channels" in status
    assert "channel gone: no such pin" in status
    assert "bus fault" in board.ask("sensors", "nothing")


def test_a_changed_product_gets_a_new_schema_id(board: Board) -> None:
    board.start()
    board.until(lambda: len(board.memory.values(0)) >= 3)
    assert board.stop() == 0
    settings = copy.deepcopy(DEFAULT)
    settings["groups"][0]["channels"][0]["exp"] = -2
    board.deploy(settings)
    board.start()
    board.until(lambda: len(board.memory.values(0, sid=2)) >= 3)
    assert board.stop() == 0
    board.deploy(DEFAULT)
    board.start()
    before = len(board.memory.values(0))
    board.until(lambda: len(board.memory.values(0)) >= before + 3)
    assert board.stop() == 0
    assert [f[3] for f in board.memory.fields(SCHEMA)] == [1, 2]


def test_no_settings_at_all_still_gives_a_console(board: Board) -> None:
    board.deploy({"links": [{"kind": "uart", "uart": 0}]})
    board.start()
    assert "0.1.0 ? ?" in board.ask("status", "memory")
