"""Commands that can be trusted: real firmware on real MicroPython, the real host and its database, real TCP.

Simulated are the sensors, a contactor on one of the board's outputs, and who cuts power when.
"""

import os
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from meuse.commands import table
from meuse.journal.database import FILE_NAME, open_writer

from tests.end_to_end.command_wire import Eavesdropper
from tests.end_to_end.river import MEUSE, Host, board, meuse
from tests.firmware.virtual import ROOT, VirtualBoard, wait_for
from tests.host.hosts import ask, events

FAN = "26"
OPS = """
[channels.fan_runs]
driver = "digital"
pins = [27]
period = "200ms"
unit = ""

[[outputs]]
name = "fan"
pin = 26

[ops.fan]
kind = "output"
output = "fan"
lease = "10min"

[ops.blast]
kind = "output"
output = "fan"
dangerous = true
if = "co2 >= 0"

[ops.beat]
kind = "setting"
setting = "health_ms"
low = 1000
high = 60000

[ops.stats]
kind = "stats"
"""
CONTACTOR = """
[[device]]
name = "fan"
model = "contactor"
coil = 26
contact = 27

[[fault]]
name = "fan-stuck"
target = "fan"
kind = "stuck"
"""


def with_fan(top: Path, data: Path, port: int) -> VirtualBoard:
    """A building's board with a fan that can be switched, and that is seen running."""
    made = board(top, "building", data, port)
    product, scenario = top / "hasty/building.product.toml", top / "hasty/building.toml"
    text = product.read_text()
    product.write_text(text.replace("[[links]]", OPS + "\n[[links]]", 1))
    scenario.write_text(scenario.read_text() + CONTACTOR)
    return made


def sent(data: Path, *words: str, status: int = 0) -> list[str]:
    """States of a command, in their order; `meuse send --wait` must end with this status."""
    out = meuse("send", "building-1", *words, "--wait", "--data", str(data), status=status)
    return [line.split(": ")[0].split()[-1] for line in out.splitlines()]


def states(data: Path, command: str) -> list[str]:
    found = ask(data, "SELECT state FROM command_states WHERE command = ? ORDER BY id", command)
    return [str(state) for (state,) in found]


def asked(data: Path, command: str, op: str, *arg: Any, for_ms: int = 300_000, **more: Any) -> int:
    """Without the time that a command line takes to start -> when it expires."""
    now_ms = int(time.time() * 1000)
    db = open_writer(data / FILE_NAME)
    with closing(db):
        db.execute("PRAGMA busy_timeout = 10000")
        table.ask(db, table.Request(command, "building-1", op, list(arg), now_ms + for_ms, **more), now_ms)
    return now_ms + for_ms


def ended(data: Path, op: str, *arg: Any, **more: Any) -> str:
    """The state in which this command settles."""
    command = f"test-{len(ask(data, 'SELECT id FROM commands'))}"
    asked(data, command, op, *arg, **more)
    wait_for(lambda: states(data, command)[-1] in table.SETTLED, f"the end of {op}")
    return states(data, command)[-1]


def fan(device: VirtualBoard) -> tuple[int, int]:
    """(is it driven, how often was it switched on)"""
    status: dict[str, Any] = device.status()
    return status["outputs"].get(FAN, 0), status["switched"].get(FAN, 0)


def measured(data: Path) -> None:
    wait_for(lambda: ask(data, "SELECT 1 FROM records WHERE type = 1 LIMIT 1"), "readings")


def test_a_command_switches_an_output_and_is_done_when_its_effect_is_measured(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Host(data) as host, with_fan(tmp_path, data, host.port) as device:
        measured(data)
        on = ["fan", "on=1", "--done-when", "fan_runs > 0 within 60 s"]
        assert sent(data, *on) == ["queued", "sent", "started", "done"]
        assert fan(device) == (1, 1)
        assert ended(data, "fan", "on", 0, done_when="fan_runs == 0", within_ms=60_000) == "done"
        device.fault("fan-stuck", True)
        on[-1] = "fan_runs > 0 within 2 s"
        assert sent(data, *on, status=1)[-1] == "failed"
        wait_for(lambda: fan(device)[0] == 0, "the safe action")
        assert fan(device) == (0, 2) and events(data).count("alert") == 1
        for op, arg in (
            ("oven", ["on", 1]),
            ("fan", ["on", 2]),
            ("fan", ["on", 1, "lease_ms", 660_000]),
            ("fan", ["on", 1, "if", ["co2", "<", 0, 0]]),
            ("beat", ["value", 999]),
        ):
            assert ended(data, op, *arg) == "refused", arg
        assert fan(device) == (0, 2)
        assert sent(data, "blast", "on=1", "--yes") == ["queued", "sent", "started", "done"]
        assert fan(device) == (1, 3)
        assert ended(data, "renew", "output", "fan") == "done"
        assert ended(data, "safe") == "done" and fan(device) == (0, 3)
        assert ended(data, "beat", "value", 5000) == "done"
        assert "log_waiting" in meuse("send", "building-1", "stats", "--wait", "--data", str(data))
        assert device.status()["crashes"] == 0
        host.stop()
    assert "no host runs" in refused(data, "fan", "on=1", status=3)


def refused(data: Path, *words: str, status: int) -> str:
    command = [str(MEUSE), "send", "building-1", *words, "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_power_fails_the_moment_a_command_acts_and_it_never_acts_again(tmp_path: Path) -> None:
    """The firmware may get as far as its result before the signal reaches it: then it says done, and else unknown.

    That each of the moments between ends well is proven where they can be counted: tests/firmware/flash_board.
    """
    data = tmp_path / "data"
    with Host(data) as host, with_fan(tmp_path, data, host.port) as device:
        measured(data)
        device.control(do="trap", pin=int(FAN))
        assert ended(data, "fan", "on", 1) in ("unknown", "done")
        assert device.status()["starts"] == 2 and fan(device) == (0, 1)
        assert ended(data, "fan", "on", 1) == "done"
        assert fan(device) == (1, 2)


def test_a_host_killed_between_sending_and_result_sends_the_same_command_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        Host(data) as host,
        Eavesdropper(host.port) as wire,
        with_fan(tmp_path, data, wire.port) as device,
    ):
        measured(data)
        assert ended(data, "stats") == "done"
        pid = int(device.status()["pid"])
        os.kill(pid, signal.SIGSTOP)  # the board gets it, and cannot do anything about it yet
        try:
            for _ in range(2):
                asked(data, "one", "fan", "on", 1)
            wait_for(lambda: wire.carried(b"fan"), "the command is sent")
            before = ask(data, "SELECT stream, cid, boot, uptime_ms FROM commands WHERE id = 'one'")
            host.kill()
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: fan(device) == (1, 1), "the board acts")
        host.start()
        wait_for(lambda: states(data, "one")[-1] == "done", "its result")
        assert states(data, "one") == ["queued", "sent", "done"] and fan(device) == (1, 1)
        assert ask(data, "SELECT stream, cid, boot, uptime_ms FROM commands WHERE id = 'one'") == before


def test_what_is_doubled_replayed_or_late_never_acts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        Host(data) as host,
        Eavesdropper(host.port) as wire,
        with_fan(tmp_path, data, wire.port) as device,
    ):
        measured(data)
        assert ended(data, "fan", "on", 1) == "done"
        assert ended(data, "fan", "on", 0) == "done"
        assert fan(device) == (0, 1)
        for _ in range(5):
            wire.replay()
        assert ended(data, "stats") == "done", "the board has read all of it"
        assert fan(device) == (0, 1)
        wire.hold()
        over_ms = asked(data, "late", "fan", "on", 1, for_ms=5000)
        wait_for(lambda: "sent" in states(data, "late"), "the command is on the wire")
        wait_for(lambda: time.time() * 1000 > over_ms + 1000, "its time is over")
        wire.release()
        wait_for(lambda: states(data, "late")[-1] == "expired", "the board says so")
        assert fan(device) == (0, 1)
        assert ended(data, "fan", "on", 1, for_ms=3_600_000) == "done"
        assert fan(device) == (1, 2)
        device.control(do="kill")
        wait_for(lambda: device.status()["starts"] == 2, "another boot")
        assert ended(data, "stats") == "done"
        for _ in range(5):
            wire.replay()
        assert ended(data, "stats") == "done"
        assert fan(device) == (0, 2), "what was good for an hour was good for that boot only"
        assert device.status()["crashes"] == 0
