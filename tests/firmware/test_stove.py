"""The example stove burns, goes out, and is safe: real firmware on real MicroPython, littlefs, registers and pins.
Simulated: the stove, wires, time (stove_bench.py) and power cuts, which are SIGKILL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.stove.table import (
    AUGER,
    BURN_OUT,
    CAUSES,
    COOL_DOWN,
    DOOR,
    FLAME_LOST,
    FLAME_UP,
    IGNITE,
    LOCKED,
    NO_FLAME,
    NONE,
    OFF,
    OVERHEAT,
    POWER_CUT,
    PRESSURE,
    PURGE,
    ROWS,
    RUN,
    SENSOR,
    STATES,
)
from meuse_protocol.commands import ACCEPTED, DENIED, DONE

from .stove_bench import AUGER as AUGER_PIN
from .stove_bench import FAN, IGNITER, StoveBench

SENSED_S = 1.5  # two periods of the bench's product, and a step
EVERY = range(len(STATES))


@pytest.fixture
def bench(tmp_path: Path, micropython: str, board_path: str) -> Iterator[StoveBench]:
    with StoveBench(tmp_path, micropython, board_path) as bench:
        yield bench
    log = tmp_path / "board.log"
    assert log.read_text() == "", "a board that works prints nothing"


def reach(bench: StoveBench, phase: int) -> None:
    """From off to this phase; a plug and a pot that are nearly there save the test some minutes of the stove's life."""
    code, why = bench.command("on")
    assert code == DONE, why
    if phase == PURGE:
        bench.reach(PURGE)
        bench.live(5)
        return
    bench.reach(IGNITE, 65)
    if phase in (FLAME_UP, RUN):
        bench.stove.plug, bench.stove.pot_g = 800.0, 16.0
        bench.reach(FLAME_UP, 120)
    if phase == RUN:
        bench.reach(RUN, 200)


def left_alone(bench: StoveBench) -> None:
    """Until it is cold; its hours are not lived through."""
    bench.stove.lit, bench.stove.pot_g, bench.stove.flue, bench.stove.water = False, 0.0, 20.0, 20.0
    bench.stove.tripped = False


def unlocked(bench: StoveBench) -> None:
    """Somebody comes, mends what is broken and presses the button."""
    for name in bench.faults.active_names():
        bench.fault(name, False)
    left_alone(bench)
    bench.live(SENSED_S + 12)  # a thermometer is asked every 5 s
    assert bench.state == LOCKED
    bench.fault("button")
    bench.reach(COOL_DOWN, 10)
    bench.fault("button", False)
    assert bench.cause == NONE
    bench.reach(OFF, 130)


def test_from_ignition_to_off(bench: StoveBench) -> None:
    way: list[int] = []
    bench.watch = lambda: way.append(bench.state) if way[-1:] != [bench.state] else None
    bench.reach(OFF, 140)
    assert bench.command_once("on")[0] == ACCEPTED, "dangerous: first it answers its state"
    bench.live(2)
    assert bench.state == OFF, "and nothing is done"
    value = bench.command_once("on")[1]
    asked, token = bench.cid, value[0]
    assert bench.command_once("commit", "cid", asked, "token", token) == (DONE, None)
    bench.reach(IGNITE, 65)
    assert bench.driven() == (1, 1, bench.driven()[2]) and bench.stove.flue < 30
    assert 100 < bench.reach(FLAME_UP, 480) < 300
    bench.reach(RUN, 200)
    flue = []
    for power in (1, 5):
        assert bench.command("power", "value", power) == (DONE, power)
        bench.live(150)
        flue.append(bench.stove.flue)
    assert bench.state == RUN and flue[0] < 160 < 190 < flue[1] < 270
    assert bench.command("set-point", "value", 100) == (DONE, 100)
    bench.live(150)
    assert bench.stove.flue < 160, "it is warmer than that: the lowest power"
    assert bench.command("off") == (DONE, None)
    bench.reach(BURN_OUT, 2)
    assert bench.driven() == (0, 1, 0)
    bench.reach(OFF, 700)
    assert bench.driven() == (0, 0, 0) and bench.stove.flue < 50 and not bench.stove.tripped
    assert [s for s in way if s < 255] == [COOL_DOWN, OFF, PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT, COOL_DOWN, OFF]
    for _ in range(2):
        bench.send(asked, "on")
        bench.send(asked + 1, "commit", "cid", asked, "token", token)
    bench.live(5)
    assert bench.state == OFF, "a recording of what was once asked does nothing"


# In which phase, what breaks, where that leads and why, within how many seconds.
FAULTS = (
    (PURGE, "door-open", COOL_DOWN, DOOR, 2),
    (PURGE, "blocked-flue", LOCKED, PRESSURE, 40),
    (PURGE, "loops-stuck", LOCKED, SENSOR, 5),
    (IGNITE, "door-open", LOCKED, DOOR, 2),
    (IGNITE, "flue-open", LOCKED, SENSOR, 5),
    (IGNITE, "cold-plug", LOCKED, NO_FLAME, 480),
    (FLAME_UP, "door-open", LOCKED, DOOR, 2),
    (RUN, "flue-open", LOCKED, SENSOR, 5),
    (RUN, "blocked-flue", LOCKED, PRESSURE, 10),
    (RUN, "no-pellets", LOCKED, FLAME_LOST, 400),
    (RUN, "auger-stuck", LOCKED, OVERHEAT, 120),
)


@pytest.mark.parametrize("phase", [PURGE, IGNITE, FLAME_UP, RUN], ids=STATES.__getitem__)
def test_what_breaks_in_each_phase_ends_where_the_table_says(bench: StoveBench, phase: int) -> None:
    bench.reach(OFF, 140)
    for _, fault, goal, cause, within_s in [one for one in FAULTS if one[0] == phase]:
        reach(bench, phase)
        bench.fault(fault)
        took_s = bench.reach(goal, within_s + SENSED_S)
        assert (bench.state, bench.cause) == (goal, cause), fault
        bench.live(0.5)
        assert bench.driven() == (0, 1, 0), f"{fault}: heat off, draught on, after {took_s:.1f} s"
        if fault == "door-open":
            assert not bench.stove.interlock, "the auger has no supply, whatever the board says"
        if goal == LOCKED:
            assert bench.command("on") == (DENIED, f"locked: {CAUSES[cause]}; press the stove's button")
            unlocked(bench)
        else:
            assert bench.command("on")[0] == DENIED
            bench.fault(fault, False)
            bench.reach(OFF, 140)


def test_a_stuck_auger_is_stopped_by_the_thermostat_in_its_supply(bench: StoveBench) -> None:
    """The board has taken its hands away, and it turns on: the reason for an interlock that is no software."""
    bench.reach(OFF, 140)
    reach(bench, RUN)
    bench.fault("auger-stuck")
    bench.reach(LOCKED, 130)
    bench.until(lambda: bench.stove.tripped, 200)
    turns = bench.stove.turns
    bench.live(60)
    assert bench.stove.turns == turns and bench.driven() == (0, 1, 0)
    unlocked(bench)
    bench.fault("auger-stuck")
    bench.stove.fan = 1.0  # a draught by wind: the pressure switch is closed, and nothing but the relay holds it
    bench.watch = lambda: setattr(bench.stove, "fan", 1.0)
    bench.reach(LOCKED, 240)
    assert bench.cause == AUGER, "and is found out when the stove is off"


def test_no_remote_command_ends_a_lock_out_and_no_power_cut_does(bench: StoveBench) -> None:
    bench.reach(OFF, 140)
    reach(bench, IGNITE)
    bench.fault("door-open")
    bench.reach(LOCKED, 5)
    bench.fault("door-open", False)
    left_alone(bench)
    bench.live(5)
    for name, *arg in (("off",), ("safe",), ("power", "value", 2), ("set-point", "value", 210), ("stats",)):
        assert bench.command(name, *arg)[0] == DONE
    for name, *arg in (("on",), ("renew", "output", "igniter"), ("safe", "output", "fan"), ("reset",)):
        assert bench.command(name, *arg)[0] != DONE
    bench.live(5)
    assert (bench.state, bench.cause) == (LOCKED, DOOR)
    bench.cut()
    bench.fault("button")  # somebody leans on it, or it sticks: it must be seen released first
    bench.start()
    bench.until(lambda: bench.state != 255, 15)
    bench.live(10)
    assert (bench.state, bench.cause) == (LOCKED, DOOR)
    bench.fault("button", False)
    unlocked(bench)


def test_commands_that_are_refused_say_why(bench: StoveBench) -> None:
    bench.reach(COOL_DOWN, 10)
    assert bench.command("on") == (DENIED, "it is not off: cool-down")
    bench.reach(OFF, 140)
    bench.fault("door-open")
    bench.live(SENSED_S)
    assert bench.command("on") == (DENIED, "the door is open")
    bench.fault("door-open", False)
    bench.live(SENSED_S)
    bench.stove.flue = 66.0
    bench.live(SENSED_S)
    bench.stove.flue = 66.0
    code, why = bench.command("on")
    assert code == DENIED and why == "flue_temp < 60 does not hold"
    bench.fault("flue-open")
    bench.live(SENSED_S)
    assert bench.command("on") == (DENIED, "no good reading of flue_temp")
    for name, value in (("power", 0), ("power", 6), ("set-point", 301), ("set-point", 49)):
        code, why = bench.command(name, "value", value)
        assert code not in (DONE, ACCEPTED) and "whole number" in why
    assert bench.state == OFF


@pytest.mark.parametrize("phase", [OFF, PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT], ids=STATES.__getitem__)
def test_after_a_power_cut_outputs_are_safe_first_and_nothing_burns_on(bench: StoveBench, phase: int) -> None:
    bench.reach(OFF, 140)
    if phase == BURN_OUT:
        reach(bench, RUN)
        bench.command("off")
        bench.reach(BURN_OUT, 2)
    elif phase != OFF:
        reach(bench, phase)
    bench.cut()
    bench.start()
    bench.watch = lambda: assert_no_heat(bench)
    bench.until(lambda: bench.state != 255, 15)
    assert sorted(bench.pins_at_start) == [(IGNITER, 0), (AUGER_PIN, 0), (FAN, 1)]
    assert (bench.state, bench.cause) == ((COOL_DOWN, NONE) if phase == OFF else (BURN_OUT, POWER_CUT))
    assert bench.driven() == (0, 1, 0)
    bench.live(20)
    assert bench.state in (COOL_DOWN, BURN_OUT)
    if phase == RUN:
        bench.reach(OFF, 700)
        bench.cut()
        bench.start()
        bench.until(lambda: bench.state != 255, 15)
        assert (bench.state, bench.cause) == (COOL_DOWN, NONE), "what was over is over"


def assert_no_heat(bench: StoveBench) -> None:
    igniter, _, auger = bench.driven()
    assert (igniter, auger) in ((0, 0), (-1, -1), (0, -1)), bench.name


def _table() -> list[str]:
    """The rows as the page shows them."""
    from examples.stove.table import CONDITIONS

    def held(ms: int) -> str:
        return f"{ms // 60_000} min" if ms >= 60_000 and ms % 60_000 == 0 else f"{ms // 1000} s" if ms else "at once"

    free = {tuple(s for s in EVERY if s != LOCKED): "any but locked", (IGNITE, FLAME_UP, RUN): "ignite to run"}
    free |= {(PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT, COOL_DOWN): "purge on"}
    lines = []
    for states, condition, ms, goal, cause in ROWS:
        where = free.get(states) or ", ".join(STATES[s] for s in states)
        why = "" if cause is None else CAUSES[cause]
        lines.append(f"| {where} | {CONDITIONS[condition]} | {held(ms)} | {STATES[goal]} | {why} |")
    return lines


def test_the_page_shows_the_table_as_it_is(root: Path) -> None:
    page = (root / "firmware/examples/stove/README.md").read_text()
    assert "\n".join(_table()) in page, "\n".join(_table())
    for fault in _names((root / "firmware/examples/stove/scenario.toml").read_text()):
        assert f"`{fault}`" in page, fault


def _names(scenario: str) -> list[str]:
    return [block.split('name = "')[1].split('"')[0] for block in scenario.split("[[fault]]")[1:]]
