"""Scenario files: strict reading with errors that help, and agreement with the products that they play."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "firmware/sim"), str(ROOT / "firmware")]

import product  # noqa: E402
from world import scenario  # noqa: E402
from world.control import COMMANDS  # noqa: E402
from world.faults import Faults  # noqa: E402
from world.served import stated  # noqa: E402

PRODUCTS = ("stove", "weather", "building")
GOOD = """
name = "s"
product = "p.toml"
trace = "t.csv"
[[device]]
name = "adc"
model = "ads1115"
i2c = 0
address = 72
[[device.input]]
ain = 0
channel = "level"
at_4ma = 0
at_20ma = 100
decimals = 0
[[fault]]
target = "level"
kind = "low"
from_s = 10
to_s = 20
"""


def read(tmp_path: Path, text: str) -> scenario.Scenario:
    (tmp_path / "t.csv").write_text("time,level[%;0]\n100,5\n110,7\n")
    (tmp_path / "s.toml").write_text(text)
    return scenario.read(tmp_path / "s.toml")


def test_a_scenario_has_defaults_and_faults_have_windows(tmp_path: Path) -> None:
    played = read(tmp_path, GOOD)
    assert (played.speed, played.baud, played.heap_bytes, played.start_s) == (60, 115_200, 96 * 1024, 0)
    assert played.trace.row(9.9) == 0
    assert played.trace.row(10) == 1
    assert played.trace.row(20) == 0, "it begins again"

    class Clock:
        now = 0.0

        def scenario_s(self) -> float:
            return self.now

    clock = Clock()
    faults = Faults(list(played.faults), clock)  # type: ignore[arg-type]
    seen = []
    for clock.now in (9.9, 10.0, 19.9, 20.0):
        seen.append(faults.active("level", "low"))
    assert seen == [False, True, True, False]
    faults.switch("level-low", True)
    assert faults.active("level", "low")
    assert not faults.active("level", "open")
    faults.switch("level-low", None)
    assert not faults.active("level", "low")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("address", "adress", "device 1 (adc): `address` is missing; is `adress` meant?"),
        ("at_4ma = 0", "at_4ma = 100", "input 1: `at_4ma` and `at_20ma` are two different values"),
        ("ain = 0", "ain = 4", "`ain` is a whole number from 0 to 3, not 4"),
        ("decimals = 0", "decimals = true", "`decimals` is a whole number from 0 to 9, not True"),
        ('"level"\nat', '"levle"\nat', "the trace has no column `levle`; it has level"),
        ('model = "ads1115"', 'model = "ads1015"', "`model` is one of ds18b20, max31855, ads1115"),
        ('kind = "low"', 'kind = "missing"', "`kind` is one of low, open, not 'missing'"),
        ('target = "level"', 'target = "roof"', "`target` is one of adc, level, not 'roof'"),
        ("i2c = 0", "i2c = 0\nspeed = 3", "device 1 (adc): unknown key `speed`"),
        ('name = "s"', 'name = "s"\nsped = 3', "unknown key `sped`; did you mean `speed`?"),
        ('name = "s"', 'name = "s"\nspeed = 0', "`speed` is more than 0"),
        ('name = "s"', 'name = "s"\nheap = "lots"', "`heap`: a heap is written like 96k, not 'lots'"),
        ('name = "s"', 'name = "s', "s.toml"),
        ('trace = "t.csv"', 'trace = "gone.csv"', "`trace`"),
    ],
)
def test_a_wrong_scenario_says_where_and_what_to_do(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(scenario.ScenarioError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert told in str(caught.value)


def test_values_are_stated_exactly() -> None:
    assert stated(Fraction(-25, 100), 1) == -0.3
    assert stated(Fraction(25, 100), 1) == 0.3
    assert stated(Fraction(1999, 16), 4) == 124.9375
    assert stated(Fraction(7, 2), 0) == 4
    assert isinstance(stated(Fraction(7, 2), 0), int)


@pytest.mark.parametrize("name", PRODUCTS)
def test_world_and_product_agree_on_every_wire(name: str) -> None:
    """The two files are written by different hands: the installer's and the building's."""
    played = scenario.read(ROOT / f"firmware/sim/scenarios/{name}.toml")
    made = product.settings(played.product)
    channels = {c["name"]: c for group in made["groups"] for c in group["channels"]}
    specs = {}
    for device in played.devices:
        for loop in device.loops:
            c = channels[loop.channel.name]
            assert made["buses"][c["bus"]]["id"] == device.line
            c = {"address": 72, "shunt_ohm": 100} | c  # the driver's defaults
            wired = (c["address"], c["input"], c["at_4ma"], c["at_20ma"], c["shunt_ohm"])
            assert wired == (device.address, loop.ain, loop.at_4ma, loop.at_20ma, loop.shunt_ohm)
            specs[loop.channel.name] = loop.channel
        if device.channel:
            specs[device.channel.name] = device.channel
            c = channels[device.channel.name]
            if device.model == "ds18b20":
                assert made["buses"][c["bus"]]["pin"] == device.line
            elif device.model == "max31855":
                assert (made["buses"][c["bus"]]["id"], c["cs"]) == (device.line, device.pins[0])
            elif device.model == "switch":
                assert tuple(c["pins"]) == device.pins
            else:
                scale = 10 ** -c["exp"]
                told = (c["pin"], c["per_pulse"], c["index"])
                assert told == (device.pins[0], device.per_pulse * scale, device.index * scale)
    assert {n: -c["exp"] for n, c in channels.items()} == {n: s.decimals for n, s in specs.items()}
    serial = [link for link in made["links"] if link["kind"] == "uart"]
    assert [link["uart"] for link in serial] == [played.uart]
    assert serial[0]["baud"] == played.baud


def test_the_page_for_people_names_every_key_fault_and_command() -> None:
    page = (ROOT / "firmware/sim/README.md").read_text()
    words = {kind for kinds in scenario.FAULT_KINDS.values() for kind in kinds} | set(scenario.MODELS)
    for name in PRODUCTS:
        text = (ROOT / f"firmware/sim/scenarios/{name}.toml").read_text()
        words |= {line.split(" = ")[0] for line in text.splitlines() if " = " in line and line[0] != "#"}
    words |= set(COMMANDS)
    missing = [word for word in sorted(words) if f"`{word}`" not in page]
    assert not missing
