"""A backend developer with docs/commands.md alone: its example, run word for word with Debian's Mosquitto clients.

Real: the firmware on MicroPython, `meuse run` with its own broker, mosquitto_pub, mosquitto_sub, curl's requests by the
standard library. Simulated: the stove's sensors, and a relay with an auxiliary contact on its igniter.
"""

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meuse.commands import table
from meuse.topics import embedded
from meuse_protocol.messages import DATA, SINGLE

from tests.brokers import program
from tests.end_to_end.river import MEUSE, Host, board, meuse
from tests.firmware.virtual import ROOT, VirtualBoard, wait_for
from tests.host.hosts import ask
from tests.topics_listener import Heard, validate

PAGE = (ROOT / "docs/commands.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", PAGE.split("\n## From a backend: MQTT\n")[1].split("\n## ")[0], re.DOTALL)
READS, LISTENS, ASKS, CONFIRMS, SWITCHES_OFF = SHELL
PRODUCT = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
CHANNEL = re.search(r"\[channels\.igniter_runs\].*?\n\n", PRODUCT + "\n", re.DOTALL)
OP = re.search(r"\[ops\.heater\].*?dangerous = true\n", PRODUCT, re.DOTALL)
RELAY = """
[[device]]
name = "igniter"
model = "contactor"
coil = 25
contact = 27
"""
IGNITER = "25"


def stove(top: Path, data: Path, port: int) -> VirtualBoard:
    """The stove with what the page adds to it; cold for hours."""
    made = board(top, "stove", data, port)
    product, scenario = top / "hasty/stove.product.toml", top / "hasty/stove.toml"
    assert CHANNEL and OP
    added = f'{CHANNEL[0]}\n{OP[0]}\n[[links]]\nkind = "tcp"\nhost = "meuse.local"\n\n[[links]]'
    product.write_text(product.read_text().replace("[[links]]", added, 1))
    text = scenario.read_text().replace("speed = 60", "speed = 1").replace('heap = "96k"', 'heap = "192k"')
    scenario.write_text(text + RELAY)
    return made


@contextlib.contextmanager
def running(top: Path) -> Iterator[tuple[Path, VirtualBoard, str]]:
    """A host with a broker of its own, the stove, and what replaces the first line of the example."""
    data, config = top / "data", top / "meuse.toml"
    config.write_text("[mqtt]\nembedded = true\ncommands = true\n")
    with Host(data, config=config) as host, stove(top, data, host.port) as device:
        shown = meuse("doctor", "--config", str(config), "--data", str(data))
        found = re.search(rf"broker, for commands: (mqtt://{embedded.COMMANDER}:\S+)", shown)
        assert found, shown
        yield data, device, found[1]


class Shell:
    """Runs the page's lines; only the address is another."""

    def __init__(self, address: str) -> None:
        program("mosquitto_pub", "mosquitto-clients")
        self._named = READS.splitlines()[:2]
        assert self._named[0].startswith("B='mqtt://commander:")
        self._named[0] = f"B='{address}'"

    def begin(self, lines: str, out: Any) -> "subprocess.Popen[bytes]":
        """`exec`, so that a signal reaches the last program."""
        *before, last = lines.strip().split("\nmosquitto_")
        script = "\n".join([*self._named, *before]) + "\nexec " + ("mosquitto_" if before else "") + last
        return subprocess.Popen(["bash", "-c", script], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)

    def run(self, lines: str) -> str:
        with self.begin(lines, subprocess.PIPE) as process:
            try:
                out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert process.returncode == 0, out.decode()
        return out.decode()


def test_the_example_of_the_page(tmp_path: Path) -> None:
    with running(tmp_path) as (_, device, address):
        shell = Shell(address)
        assert 15 < shown(shell)["flue_temp"]["value"] < 60
        said = tmp_path / "said"
        with said.open("wb") as out, shell.begin(LISTENS, out) as listener:
            try:
                heard = _play(shell, device, said)
            finally:
                listener.send_signal(signal.SIGTERM)
        assert device.status()["crashes"] == 0
    topic = "meuse/default/default/stove-1/command/x"
    validate([Heard(topic, json.dumps(form).encode(), False) for form in heard if "op" in form and "state" in form])


def shown(shell: Shell) -> dict[str, Any]:
    """The channels of `latest`, as the page reads them."""
    found: dict[str, Any] = json.loads(shell.run("\n".join(READS.splitlines()[2:])))["channels"]
    return found


def _play(shell: Shell, device: VirtualBoard, said: Path) -> list[dict[str, Any]]:
    def heard() -> list[dict[str, Any]]:
        return [json.loads(line) for line in said.read_text().splitlines() if line.endswith("}")]

    def states(id: str) -> list[str]:
        return [form["state"] for form in heard() if form["id"] == id]

    def last(id: str, state: str) -> dict[str, Any]:
        wait_for(lambda: states(id)[-1:] == [state], f"{id} is {state}, not {said.read_text()}")
        return heard()[-1]

    def level() -> int:
        return int(device.status()["outputs"].get(IGNITER, 0))

    late = ASKS.replace("light-1", "late").replace("+5 min", "-5 min")
    wait_for(lambda: states("late") or shell.run(late), "the listener listens, and the host has answered")
    assert set(states("late")) == {"expired"}, "what comes late never acts"
    shell.run(ASKS)
    prepared = last("light-1", "started")
    assert prepared["detail"].startswith("prepared: igniter 0, flue_temp ") and level() == 0
    shell.run(CONFIRMS)
    done = last("light-1", "done")
    assert states("light-1") == ["queued", "sent", "started", "started", "done"]
    assert done["measured"]["channel"] == "igniter_runs" and done["measured"]["value"] == 1 and level() == 1
    shell.run(ASKS)  # once more the same
    wait_for(lambda: len(states("light-1")) == 6, "the answer to the double")
    assert states("light-1")[-1] == "done" and device.status()["switched"][IGNITER] == 1
    shell.run(SWITCHES_OFF)
    last("off-1", "done")
    assert level() == 0
    device.fault("flue-open", True)
    wait_for(lambda: shown(shell)["flue_temp"]["quality"] == "open", "the thermocouple has come loose")
    shell.run(ASKS.replace("light-1", "light-2"))
    refused = last("light-2", "refused")
    assert "flue_temp < 60 does not hold" in refused["detail"] and level() == 0
    return heard()


def test_an_output_goes_off_within_its_lease_when_nobody_keeps_it(tmp_path: Path) -> None:
    """`meuse send --keep`, and then it is killed."""
    with running(tmp_path) as (data, device, _):
        measured = f"SELECT count(*) FROM records WHERE type IN ({DATA}, {SINGLE})"
        wait_for(lambda: ask(data, measured)[0][0], "the flue was measured, which the op asks for")
        words = ["send", "stove-1", "heater", "on=1", "lease=10s", "--yes", "--keep", "--id", "kept"]
        with subprocess.Popen([str(MEUSE), *words, "--data", str(data)], stdout=subprocess.PIPE) as keeper:
            try:
                renewed = "SELECT count(*) FROM commands WHERE follows = 'kept' AND op = 'renew' AND state = 'done'"
                wait_for(lambda: ask(data, renewed)[0][0] >= 4, "it is renewed for longer than its lease")  # type: ignore[operator]
                assert device.status()["outputs"][IGNITER] == 1 and device.status()["switched"][IGNITER] == 1
            finally:
                keeper.kill()
        gone = time.monotonic()
        wait_for(lambda: device.status()["outputs"][IGNITER] == 0, "the igniter is off")
        print(f"off {time.monotonic() - gone:.1f} s after its keeper has gone; its lease is 10 s")
        ((state,),) = ask(data, "SELECT state FROM commands WHERE id = 'kept'")
        assert state == table.DONE
        late = subprocess.run(
            [str(MEUSE), "send", "stove-1", "heater", "on=1", "--keep", "--data", str(data)],
            capture_output=True,
            text=True,
        )
        assert late.returncode == 2 and "lease" in late.stderr


