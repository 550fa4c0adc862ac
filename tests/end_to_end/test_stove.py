"""A backend switches a stove on, sees each state, and sees the refusal when it is unsafe: `meuse run` with the example
stove, `meuse send` and `meuse sim`, as typed. Real: host, database, firmware with the heap of a 128 kB board.
Simulated: the stove's physics, twenty times as fast as real, and its wires."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.stove.table import FLAME_UP, IGNITE, OFF, PURGE, RUN

from tests.end_to_end.river import MEUSE, Host, meuse, provision, rows
from tests.firmware.virtual import ROOT, VirtualBoard, wait_for
from tests.host.hosts import ask, events

DEVICE = "example-stove-1"
EXAMPLE = ROOT / "firmware/examples/stove"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def stove(data: Path) -> Iterator[VirtualBoard]:
    key = provision(data, DEVICE)
    folder = data / "boards/example-stove"
    words = ("--scenario", str(EXAMPLE / "scenario.toml"), "--speed", "20", "--key", str(key))
    with Host(data, [str(folder / "tty")]), VirtualBoard(folder, DEVICE, *words) as board:
        yield board
        assert board.status()["crashes"] == 0 and board.log() == ""


def told(data: Path) -> list[str]:
    """States in their order, as the stove has told them to the host."""
    found = ask(data, "SELECT detail FROM events WHERE detail LIKE '%stove: %' ORDER BY id")
    return [str(detail).split("stove: ")[1].split(",")[0].split(" (")[0] for (detail,) in found]


def in_state(data: Path, *states: str) -> None:
    wait_for(lambda: told(data)[-1:] and told(data)[-1] in states, f"{states}")


def door(data: Path) -> float:
    return float(rows("--data", str(data), "--channel", "door_open")[-1]["value"])


def sent(data: Path, *words: str, status: int = 0) -> tuple[list[str], str]:
    """(states of the command in their order, all that was printed)"""
    out = meuse("send", DEVICE, *words, "--wait", "--data", str(data), status=status, seconds=120)
    return list(dict.fromkeys(line.split(": ")[0].split()[-1] for line in out.splitlines())), out


def switched(data: Path, name: str, on: bool) -> None:
    words = ["sim", str(EXAMPLE), "--break" if on else "--mend", name, "--data", str(data)]
    done = subprocess.run([str(MEUSE), *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0 and name in done.stdout, done.stdout + done.stderr


def test_a_stove_is_switched_on_and_seen_to_burn(data: Path, stove: VirtualBoard) -> None:
    in_state(data, "off")
    on = ("on", "--done-when", "flue_temp > 60 within 2 min", "--yes")
    states, out = sent(data, *on)
    assert states == ["queued", "sent", "started", "done"], out
    assert stove.status()["outputs"]["27"] == 1
    in_state(data, "run")
    assert sent(data, "power", "value=5")[0][-1] == "done"
    states, out = sent(data, "on", "--yes", status=1)
    assert states[-1] == "refused" and "it is not off: run" in out
    states, out = sent(data, "power", "value=6", status=1)
    assert states[-1] == "refused" and "from 1 to 5" in out
    assert sent(data, "off")[0][-1] == "done"
    in_state(data, "burn-out")
    assert told(data) == ["cool-down", "off", "purge", "ignite", "flame-up", "run", "burn-out"]
    numbers = [int(float(r["value"])) for r in rows("--data", str(data), "--channel", "state")]
    way = [n for i, n in enumerate(numbers) if n != numbers[i - 1]]
    assert way[way.index(OFF) :][:5] == [OFF, PURGE, IGNITE, FLAME_UP, RUN], "the channel says the same"
    assert events(data).count("alert") == 0


def test_ignition_that_fails_makes_the_stove_safe_and_an_open_door_refuses(data: Path, stove: VirtualBoard) -> None:
    in_state(data, "off")
    switched(data, "door-open", True)
    wait_for(lambda: door(data) == 1, "the door")
    states, out = sent(data, "on", "--yes", status=1)
    assert states[-1] == "refused" and "the door is open" in out
    switched(data, "door-open", False)
    wait_for(lambda: door(data) == 0, "the door")
    switched(data, "cold-plug", True)
    states, out = sent(data, "on", "--done-when", "flue_temp > 60 within 4 s", "--yes", status=1)
    assert states == ["queued", "sent", "started", "failed"], out
    in_state(data, "burn-out", "cool-down")
    outputs = stove.status()["outputs"]
    assert (outputs["25"], outputs["26"], outputs["27"]) == (0, 0, 1)
    assert events(data).count("alert") == 1
    switched(data, "flue-open", True)
    in_state(data, "locked")
    states, out = sent(data, "on", "--yes", status=1)
    assert states[-1] == "refused" and "locked: sensor fails" in out
    stove.control(do="kill")
    wait_for(lambda: stove.status()["starts"] == 2, "another boot")
    assert sent(data, "safe")[0][-1] == "done"
    states, out = sent(data, "on", "--yes", status=1)
    assert states[-1] == "refused" and "locked: sensor fails" in out
