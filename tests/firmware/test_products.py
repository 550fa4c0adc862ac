"""The three demonstration products as they run: real firmware, simulated world, a host that stores in memory. What is
stored equals what the world served, value for value, and the trace within half a step of the sensor."""

import csv
import signal
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from meuse_protocol.messages import BOOT

from .desk import Desk, Listener, Port
from .virtual import ROOT, VirtualBoard

KEY = bytes(range(32))
# Steps of the sensors: registers by datasheet; 4-20 mA: 25600 codes of the ADS1115 (2.048 V, 100 Ohm) over the span.
STEPS = {"room_temp": Fraction(1, 16), "ambient_temp": Fraction(1, 16), "flue_temp": Fraction(1, 4)}
COLUMNS = {"building": {"room_temp": "temp"}}


def told(board: VirtualBoard, channel: str, decimals: int) -> list[Any]:
    """What the world served, as the board must have stored it."""
    lines = [line for line in board.served() if line["channel"] == channel]
    return [[-x["quality"]] if x["value"] is None else round(x["value"] * 10**decimals) for x in lines]


def trace(name: str) -> dict[int, dict[str, Fraction]]:
    file = {"building": "occupancy"}.get(name, name)
    with (ROOT / f"tests/traces/{file}.csv").open(newline="") as f:
        header, *rows = list(csv.reader(f))
    names = [title.split("[")[0] for title in header]
    return {int(row[0]): dict(zip(names, map(Fraction, row), strict=True)) for row in rows}


def start(name: str, folder: Path, *words: str) -> VirtualBoard:
    """The product and scenario as they are, but that a row waits half a second for its batch, not five."""
    key = folder / "device.key"
    key.write_bytes(KEY)
    product = (ROOT / f"firmware/products/{name}.toml").read_text()
    assert 'max_age = "5s"' in product
    (folder / "product.toml").write_text(product.replace('max_age = "5s"', 'max_age = "500ms"'))
    scenario = (ROOT / f"firmware/sim/scenarios/{name}.toml").read_text()
    scenario = scenario.replace(f"../../products/{name}.toml", str(folder / "product.toml"))
    (folder / f"{name}.toml").write_text(scenario.replace("../../../tests/traces", str(ROOT / "tests/traces")))
    options = ["--scenario", str(folder / f"{name}.toml"), "--key", str(key), *words]
    return VirtualBoard(folder / "board", f"{name}-1", *options)


def finish(desk: Desk, board: VirtualBoard) -> None:
    """SIGTERM; the host goes on storing while the board flushes and drains."""
    assert board.process is not None
    process, board.process = board.process, None
    process.terminate()
    desk.until(lambda: process.poll() is not None, "the end of the board")
    assert process.returncode == 0, board.log()


def decimals(desk: Desk) -> dict[str, int]:
    return {c[0]: -c[2] for f in desk.memory.fields(3) for c in f[6]}


def assert_stored_equals_served(desk: Desk, board: VirtualBoard) -> dict[str, list[Any]]:
    columns, places = desk.columns(), decimals(desk)
    served = {line["channel"] for line in board.served()}
    assert served <= set(columns)
    for name in served:
        assert columns[name] == told(board, name, places[name]), name
    return columns


@pytest.fixture
def stove(tmp_path: Path) -> Iterator[VirtualBoard]:
    with start("stove", tmp_path) as board:
        yield board


@pytest.fixture
def desk(stove: VirtualBoard) -> Iterator[Desk]:
    desk = Desk("stove-1", Port(stove.folder / "tty"), KEY)
    yield desk
    desk.close()


def test_a_stove_on_its_cable(stove: VirtualBoard, desk: Desk) -> None:
    """Readings, a fault that comes and goes, and a person who types, on one line."""
    desk.until(lambda: desk.rows("flue_temp") >= 3, "rows")
    stove.fault("flue-open", True)
    desk.until(lambda: [-3] in desk.columns()["flue_temp"], "the open thermocouple")
    stove.fault("flue-open", False)
    desk.type("status")
    desk.until(lambda: any("memory" in t for t in desk.text), "the end of an answer")
    assert any("device   stove-1" in t for t in desk.text)
    desk.type("frames on")
    now = desk.rows("flue_temp")
    desk.until(lambda: desk.rows("flue_temp") >= now + 2, "rows after the person")
    finish(desk, stove)
    columns = assert_stored_equals_served(desk, stove)
    assert {len(columns[c]) for c in ("flue_temp", "room_temp", "draught", "door_open")} == {len(columns["fan_rpm"])}
    assert desk.damaged == 0
    assert desk.memory.gaps == []
    assert stove.log() == "", "a board that works prints nothing"


def test_a_pulled_plug_and_a_noisy_line_lose_nothing(stove: VirtualBoard, desk: Desk) -> None:
    desk.until(lambda: desk.rows("flue_temp") >= 2, "rows")
    stove.control(do="unplug")
    assert not (stove.folder / "tty").exists()
    served = stove.status()["served"]
    desk.until(lambda: stove.status()["served"] > served + 16, "readings without a cable")
    stove.control(do="replug")
    desk.until(lambda: desk.connections == 2, "the cable")
    for seed in range(4):
        stove.control(do="noise", bytes=200, to="host", seed=seed)
        stove.control(do="noise", bytes=200, to="board", seed=seed)
        rows = desk.rows("flue_temp")
        desk.until(lambda rows=rows: desk.rows("flue_temp") > rows, "rows on a noisy line")
    finish(desk, stove)
    assert_stored_equals_served(desk, stove)
    assert desk.damaged > 0
    assert desk.memory.gaps == []


def test_killed_and_started_again_it_is_the_same_board(stove: VirtualBoard, desk: Desk) -> None:
    """Once only the processor loses its power, once everything does."""
    desk.until(lambda: desk.rows("flue_temp") >= 2, "rows")
    stove.control(do="kill")
    desk.until(lambda: len(desk.memory.fields(BOOT)) == 2, "a second boot")
    stove.kill()
    desk.close()
    stove.start()
    desk.until(lambda: len(desk.memory.fields(BOOT)) == 3, "a third boot")
    rows = desk.rows("flue_temp")
    desk.until(lambda: desk.rows("flue_temp") >= rows + 2, "rows")
    finish(desk, stove)
    assert len(desk.memory.streams) == 1
    (state,) = desk.memory.streams.values()
    assert state.cum == state.next_seq, "what was lost with the power is announced"
    assert [f[3:5] for f in desk.memory.fields(BOOT)] == [[1, 1], [2, 1], [3, 1]]
    for name, values in desk.columns().items():
        if name in {line["channel"] for line in stove.served()}:
            served = told(stove, name, decimals(desk)[name])
            rest = iter(served)
            assert all(value in rest for value in values), f"{name}: stored {values}, served {served}"


def test_deploying_again_changes_what_changed_and_keeps_what_was_set(tmp_path: Path) -> None:
    stove = start("stove", tmp_path, "--heap", "192k")
    desk = Desk("stove-1", Port(stove.folder / "tty"), KEY)

    def asked(key: str) -> str:
        desk.until(lambda: desk.connected and desk.memory.streams, "the board")
        desk.text.clear()
        desk.type(f"config get {key}")
        found = desk.until(lambda: [t for t in desk.text if t.startswith(f"{key} = ")], key)
        return str(found[0])

    def started_again() -> None:
        stove.kill()
        desk.close()
        desk.memory.streams.clear()
        stove.start()

    with stove:
        assert asked("watchdog_ms") == "watchdog_ms = 8000"
        desk.type("config set watchdog_ms 9000")
        desk.until(lambda: any("stored" in t for t in desk.text), "the new setting")
        started_again()
        assert asked("watchdog_ms") == "watchdog_ms = 9000", "the same product again"
        product = tmp_path / "product.toml"
        product.write_text(product.read_text().replace('watchdog = "8s"', 'watchdog = "7s"'))
        started_again()
        assert asked("watchdog_ms") == "watchdog_ms = 7000", "another product"
    desk.close()


@pytest.mark.parametrize("name", ["weather", "building"])
def test_products_on_the_network(name: str, tmp_path: Path) -> None:
    listener = Listener()
    desk = Desk(f"{name}-1", listener, KEY)
    first = {"weather": "uvb", "building": "co2"}[name]
    with start(name, tmp_path, "--host", listener.address) as board:
        desk.until(lambda: desk.rows(first) >= 4, "rows")
        finish(desk, board)
        columns = assert_stored_equals_served(desk, board)
    listener.shut()
    truth = trace(name)
    checked = 0
    for line in board.served():
        column = COLUMNS.get(name, {}).get(line["channel"], line["channel"])
        if line["channel"] != "water":
            step = STEPS.get(line["channel"], Fraction(1, 10 ** decimals(desk)[line["channel"]]))
            assert abs(Fraction(str(line["value"])) - truth[line["trace_time"]][column]) <= step / 2, line
            checked += 1
    assert checked >= 4 * (len(columns) - 16)
    if name == "building":
        assert columns["water"] == sorted(columns["water"])
        assert columns["water"][-1] > 842317, "water flows in the morning"


def test_a_world_that_is_starved_costs_no_value(tmp_path: Path) -> None:
    """Else `stored == served` would depend on how busy the machine is."""
    with start("stove", tmp_path, "--heap", "192k") as stove:
        desk = Desk("stove-1", Port(stove.folder / "tty"), KEY)
        desk.until(lambda: desk.rows("flue_temp") >= 2, "rows")
        assert stove.process
        for more in range(4, 10, 2):
            stove.process.send_signal(signal.SIGSTOP)
            time.sleep(1.5)  # longer than a period: a reading falls into it
            stove.process.send_signal(signal.SIGCONT)
            desk.until(lambda more=more: desk.rows("flue_temp") >= more, "more rows")
        columns = desk.columns()
        desk.close()
    assert all([-5] not in columns[name] for name in ("flue_temp", "room_temp", "draught", "door_open")), columns


def test_a_power_cut_costs_pulses_and_makes_none_up(tmp_path: Path) -> None:
    listener = Listener()
    desk = Desk("building-1", listener, KEY)
    with start("building", tmp_path, "--host", listener.address) as board:
        desk.until(lambda: desk.rows("water") >= 8, "rows")
        board.control(do="kill")
        desk.until(lambda: board.status()["starts"] == 2, "another boot")
        before = desk.rows("water")
        desk.until(lambda: desk.rows("water") >= before + 8, "rows")
        lost = board.status()["lost_pulses"]["water"]
        finish(desk, board)
    listener.shut()
    assert lost >= 0, "the flash knew of pulses that never were"


def test_a_wifi_that_went_away_is_joined_again(tmp_path: Path) -> None:
    listener = Listener()
    desk = Desk("building-1", listener, KEY)
    board = start("building", tmp_path, "--host", listener.address)
    product = tmp_path / "product.toml"
    product.write_text(product.read_text().replace('kind = "tcp"', 'kind = "tcp"\nssid = "home"'))
    with board:
        desk.until(lambda: desk.rows("co2") >= 4, "rows")
        board.control(do="network", on=False)
        desk.close()
        lost_at = len(board.served())
        desk.until(lambda: len(board.served()) > lost_at + 20, "readings without a network")
        assert not desk.connected, "a radio without access point carries nothing"
        board.control(do="network", on=True)
        before = desk.rows("co2")
        desk.until(lambda: desk.rows("co2") > before + 8, "rows again")
        finish(desk, board)
        assert_stored_equals_served(desk, board)
    listener.shut()
