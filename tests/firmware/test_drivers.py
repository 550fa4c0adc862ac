"""Each driver against its part at register level, on the real MicroPython: every fault has its quality code, no value
is invented, nothing hangs, and what is read is what the world served."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from .virtual import VirtualBoard, json_lines, wait_for

MISSING, BUS, OPEN, RANGE, NOT_READY = [-1], [-2], [-3], [-4], [-5]
SLOW_MS = 250  # what the sampler calls slow

TRACE = """time,flue[Cel;2],room[Cel;4],cellar[Cel;1],draught[Pa;2],co2[1/1e6;0],door[;0],code[;0]
1000000000,21.37,20.51,-3.1,-12.34,412,0,0
1000000060,249.99,-17.3,14.7,3.21,1999,1,5
1000000120,-7.62,0.02,85,-0.01,400,1,2
1000000180,1199.9,85,-55,49.99,2100,0,7
1000000240,-0.12,124.9,-0.4,-49.5,1200,1,3
"""

SCENARIO = """
name = "parts"
product = "none.toml"
trace = "trace.csv"
speed = 150

[[device]]
name = "flue"
model = "max31855"
spi = 1
cs = 5
channel = "flue"
decimals = 2

[[device]]
name = "room"
model = "ds18b20"
line = 4
rom = "28ff641e8216c328"
channel = "room"
decimals = 4

[[device]]
name = "cellar"
model = "ds18b20"
line = 4
rom = "28aa112233445535"
channel = "cellar"
decimals = 2

[[device]]
name = "adc"
model = "ads1115"
i2c = 0
address = 0x49
[[device.input]]
ain = 0
channel = "draught"
at_4ma = -50
at_20ma = 50
decimals = 2
[[device.input]]
ain = 3
channel = "co2"
at_4ma = 0
at_20ma = 2000
shunt_ohm = 120
decimals = 0

[[device]]
name = "door"
model = "switch"
pins = [13]
channel = "door"
decimals = 0

[[device]]
name = "code"
model = "switch"
pins = [14, 15, 16]
closed_low = false
channel = "code"
decimals = 0

[[device]]
name = "water"
model = "pulse"
pin = 17
channel = "water"
decimals = 3
per_pulse = 0.005
index = 123.45
per_hour = [%s]
"""
FAULTS = {
    "flue": ("open", "short-gnd", "short-vcc", "missing", "stuck"),
    "room": ("missing", "checksum", "power-on", "stuck"),
    "adc": ("missing", "stuck"),
    "co2": ("low", "open"),
    "water": ("bounce",),
}
BUSES = {
    "line": {"kind": "onewire", "pin": 4},
    "adc": {"kind": "i2c", "id": 0, "scl": 22, "sda": 21, "freq": 100000},
    "tc": {"kind": "spi", "id": 1, "sck": 18, "miso": 19, "baudrate": 1000000},
}
CHANNELS: list[dict[str, Any]] = [
    {"name": "flue", "exp": -2, "driver": "max31855", "bus": "tc", "cs": 5},
    {"name": "room", "exp": -4, "driver": "ds18b20", "bus": "line", "rom": "28ff641e8216c328", "bits": 9},
    {"name": "cellar", "exp": -2, "driver": "ds18b20", "bus": "line", "rom": "28aa112233445535", "bits": 10},
    {"name": "draught", "exp": -2, "driver": "ads1115", "bus": "adc", "address": 73, "input": 0, "at_4ma": -50,
     "at_20ma": 50},
    {"name": "co2", "exp": 0, "driver": "ads1115", "bus": "adc", "address": 73, "input": 3, "at_4ma": 0,
     "at_20ma": 2000, "shunt_ohm": 120, "range_mv": 4096},
    {"name": "door", "exp": 0, "driver": "digital", "pins": [13]},
    {"name": "code", "exp": 0, "driver": "digital", "pins": [14, 15, 16], "active": 1, "pull_up": False},
    {"name": "water", "exp": -3, "driver": "pulse", "pin": 17, "per_pulse": 5, "index": 123450},
]
NAMES = [c["name"] for c in CHANNELS]
STEPS = {"flue": Fraction(1, 4), "room": Fraction(1, 2), "cellar": Fraction(1, 4)}  # of the sensor, else the trace's


def rounds(board: VirtualBoard) -> list[dict[str, Any]]:
    return [line for line in json_lines(board.folder / "rounds.jsonl") if "values" in line]


def later_rounds(board: VirtualBoard, count: int = 2) -> list[dict[str, Any]]:
    """The next rounds that began after this moment."""
    first = len(rounds(board)) + 1
    wait_for(lambda: len(rounds(board)) >= first + count, "rounds")
    return rounds(board)[first:]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, board_path: str) -> Iterator[VirtualBoard]:
    folder = tmp_path_factory.mktemp("parts")
    (folder / "trace.csv").write_text(TRACE)
    faults = [f'[[fault]]\ntarget = "{t}"\nkind = "{k}"\n' for t, kinds in FAULTS.items() for k in kinds]
    (folder / "parts.toml").write_text(SCENARIO % ", ".join(["192"] * 24) + "".join(faults))
    plan = {"buses": BUSES, "channels": CHANNELS, "scan": ["line"], "meters": ["water"]}
    (folder / "plan.json").write_text(json.dumps(plan))
    words = [str(folder / name) for name in ("plan.json", "rounds.jsonl", "kept")]
    options = ["--scenario", str(folder / "parts.toml"), "--module", "read_channels", "--path", board_path]
    with VirtualBoard(folder, "parts-1", *options, *words) as running:
        yield running
        assert running.stop() == 0, running.log()


def test_values_are_what_the_world_served_and_the_trace_says(board: VirtualBoard) -> None:
    """Every trace row is met; value for value, and within half a step of the sensor."""
    wait_for(lambda: board.status()["scenario_s"] > 400, "a whole trace")
    read, served = rounds(board), board.served()
    rows = {int(line.split(",")[0]): line.split(",")[1:] for line in TRACE.split()[1:]}
    for i, channel in enumerate(CHANNELS):
        lines = [line for line in served if line["channel"] == channel["name"]]
        told = [[-line["quality"]] if line["value"] is None else line["value"] for line in lines]
        values = [r["values"][i] for r in read]
        assert len(set(map(str, values))) > 1, channel
        scaled = [v if isinstance(v, list) else v / 10 ** -channel["exp"] for v in values]
        assert scaled == told[: len(scaled)], channel
        for line in lines if channel["name"] != "water" else []:
            truth = Fraction(rows[line["trace_time"]][i])
            if line["value"] is None:
                assert (channel["name"], truth) == ("co2", 2100)
            else:
                step = STEPS.get(channel["name"], Fraction(0))
                assert abs(Fraction(str(line["value"])) - truth) <= step / 2, line


def test_a_search_finds_every_device_on_the_line(board: VirtualBoard) -> None:
    found = json_lines(board.folder / "rounds.jsonl")[0]["found"]
    assert sorted(found[0]) == ["28aa112233445535", "28ff641e8216c328"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("flue-open", {"flue": OPEN}),
        ("flue-short-gnd", {"flue": OPEN}),
        ("flue-short-vcc", {"flue": OPEN}),
        ("flue-missing", {"flue": MISSING}),
        ("flue-stuck", {"flue": BUS}),
        ("room-missing", {"room": MISSING}),
        ("room-checksum", {"room": BUS}),
        ("room-power-on", {"room": NOT_READY}),
        ("room-stuck", {"room": BUS, "cellar": BUS}),
        ("adc-missing", {"draught": MISSING, "co2": MISSING}),
        ("adc-stuck", {"draught": BUS, "co2": BUS}),
        ("co2-low", {"co2": OPEN}),
        ("co2-open", {"co2": OPEN}),
    ],
)
def test_a_fault_has_its_quality_and_goes_again(
    board: VirtualBoard, fault: str, expected: dict[str, list[int]]
) -> None:
    board.fault(fault, True)
    rounds = later_rounds(board)
    for line in rounds:
        for name, value in zip(NAMES, line["values"], strict=True):
            if name in expected:
                assert value == expected[name], (name, line)
            elif value != RANGE:  # of co2, which the trace drives out of range
                assert isinstance(value, int), (name, line)
    quickest_ms = min(line["longest_ms"] for line in rounds)
    assert quickest_ms < SLOW_MS, "a driver that waits does so in every round; a busy test machine does not"
    board.fault(fault, False)
    # One reading may still say that the sensor had lost its supply.
    for line in later_rounds(board, 3)[1:]:
        assert all(isinstance(v, int) or v == RANGE for v in line["values"]), line


def test_bouncing_contacts_count_once(board: VirtualBoard) -> None:
    i, before = NAMES.index("water"), board.served()[-1]["t"]
    board.fault("water-bounce", True)
    first = later_rounds(board)[0]["values"][i]
    wait_for(lambda: rounds(board)[-1]["values"][i] >= first + 5 * 15, "15 pulses")
    board.fault("water-bounce", False)
    lines = [line for line in board.served() if line["channel"] == "water"]
    values = [r["values"][i] / 1000 for r in rounds(board)]
    assert values == [line["value"] for line in lines][: len(values)]
    assert lines[-1]["t"] > before


def test_the_total_of_a_meter_outlives_a_power_cut(board: VirtualBoard) -> None:
    i = NAMES.index("water")
    before = rounds(board)[-1]["values"][i]
    count = len(rounds(board))
    assert before > 123450
    board.control(do="kill")
    wait_for(lambda: len(rounds(board)) > count + 3, "rounds after the cut")
    after = [r["values"][i] for r in rounds(board)[count:]]
    assert after[0] >= before
    told = iter([line["value"] for line in board.served() if line["channel"] == "water"])
    assert all(value / 1000 in told for value in after), "value for value, across the cut"
