"""A board on the bench with a fan that a host switches, and that host; how often the fan was switched is in a file.

Owns what a test says of commands: ask, wait for the end, count acts. Waiting is done while the event loop runs.
"""

import asyncio
import copy
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meuse.commands import table
from meuse.run import Host

from tests.end_to_end.river import MEUSE
from tests.host.hosts import ask
from tests.host.light_board import until

from .peer import DEFAULT

PIN = 5
DEVICE = "bench-1"
CONSOLE = {"kind": "uart", "uart": 0, "carries": "nothing"}
FAN = {
    "outputs": [{"name": "fan", "pin": PIN, "safe": 0}],
    "ops": [
        {"name": "fan", "kind": "output", "output": "fan", "lease_ms": 600_000},
        {"name": "stats", "kind": "stats"},
    ],
}


def settings(*links: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Of a board with a fan and these links, the last of which is its console."""
    return {**copy.deepcopy(DEFAULT), **FAN, "links": [*links, CONSOLE], **more}


def hourly() -> list[dict[str, Any]]:
    """Groups of a board that has nothing to say by itself."""
    groups: list[dict[str, Any]] = copy.deepcopy(DEFAULT["groups"])
    groups[0].update(period_ms=3_600_000)
    return groups


def switched(folder: Path) -> str:
    """What the fan's pin was set to, in order, from the first boot on."""
    return (folder / f"pin.{PIN}").read_text()


async def asked(host: Host, name: str, op: str, *arg: Any, device: str = DEVICE, for_ms: int = 600_000) -> None:
    now_ms = time.time_ns() // 1_000_000
    request = table.Request(name, device, op, list(arg), now_ms + for_ms)
    await host.journal.write(lambda db: table.ask(db, request, now_ms))


def states(data: Path, name: str) -> list[str]:
    found = ask(data, "SELECT state FROM command_states WHERE command = ? ORDER BY id", name)
    return [str(state) for (state,) in found]


async def ends(data: Path, name: str, state: str = table.DONE) -> None:
    """This command is settled so."""
    await until(lambda: states(data, name)[-1:] and states(data, name)[-1] in table.SETTLED, f"{name} ends")
    assert states(data, name)[-1] == state, states(data, name)


async def drill(host: Host, data: Path, folder: Path, rounds: int) -> None:
    """On and off again, so often, one after the other: each is done, and each was an act once."""
    before = switched(folder)
    for n in range(2 * rounds):
        name = f"drill-{len(before)}-{n}"
        await asked(host, name, "fan", "on", 1 - n % 2)
        await ends(data, name)
    assert switched(folder) == before + "10" * rounds


async def there(host: Host, link: str, device: str = DEVICE) -> None:
    """The board's records come over this link."""
    devices = host.bridge.presences.devices
    await until(lambda: device in devices and devices[device].link.startswith(link), f"{device} on {link}")


async def send(data: Path, *words: str, wait: bool = True) -> list[str]:
    """`meuse send DEVICE OP ...` at a running host -> the states that it shows."""
    command = [str(MEUSE), "send", *words, *(["--wait"] if wait else []), "--data", str(data)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, error = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, (out, error)
    return [line.split(": ")[0].split()[-1] for line in out.decode().splitlines()]


def results(data: Path) -> list[str]:
    """By which link each RESULT came, in order."""
    return [str(link) for (link,) in ask(data, "SELECT link FROM records WHERE type = 7 ORDER BY id")]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The board gets what is sent, and cannot do anything about it yet."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
