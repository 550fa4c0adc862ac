"""`meuse run` in the foreground: signals, the view, virtual boards, and how it all ends.

Stops on SIGINT, SIGTERM, after `--for` seconds, or when a part fails; always in the same order:
boards drain, links close, everything that came is durable, then the process ends.
"""

import asyncio
import contextlib
import dataclasses
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console

from meuse import sim
from meuse.checks import Finding, check_host
from meuse.config import SerialSettings, Settings, load, parse_address
from meuse.errors import HostError
from meuse.latest import Latest
from meuse.live import View
from meuse.run import Host


def settings(config: Path | None, data: Path | None, tcp: list[str], serial: list[str]) -> Settings:
    """The file's settings with what the command line says instead; raises ConfigError."""
    found = load(config)
    if data is not None:
        found = dataclasses.replace(found, host=dataclasses.replace(found.host, data=str(data)))
    if tcp:
        for address in tcp:
            parse_address(address, "--tcp")
        found = dataclasses.replace(found, tcp=dataclasses.replace(found.tcp, listen=tcp))
    if serial:
        ports = [SerialSettings(port=port) for port in serial]
        found = dataclasses.replace(found, serial=ports)
    return found


def check(found: Settings) -> int:
    """Look at everything `run` needs, start nothing; 0 when all is well."""
    findings = check_host(found)
    return report(findings)


def report(findings: list[Finding]) -> int:
    """Print findings, one line each; 1 when something must be put right."""
    for finding in findings:
        print(f"{finding.mark:<5} {finding.what}: {finding.state}")
        if finding.advice:
            print(f"      next: {finding.advice}")
    return 1 if any(finding.bad for finding in findings) else 0


def run(found: Settings, with_sim: bool, seconds: float | None) -> int:
    """Run until told to stop; 0 when everything that came is durable."""
    _log_to_stderr(found.host.log)
    return asyncio.run(_run(found, with_sim, seconds))


async def _run(found: Settings, with_sim: bool, seconds: float | None) -> int:
    console = Console()
    data = Path(found.host.data)
    wanted = sim.boards(data, sim.ALL) if with_sim else []
    if wanted:
        console.print("compiling the firmware", highlight=False)
        await sim.prepare(data, wanted)
        ports = [SerialSettings(port=str(board.port)) for board in wanted]
        found = dataclasses.replace(found, serial=[*found.serial, *ports])
    stop = _stop_signals()
    host = Host(found)
    await host.start()
    boards = sim.VirtualBoards(wanted, data, host.tcp[0].address if host.tcp else "")
    failure: HostError | None = None
    stuck: list[sim.Board] = []
    try:
        await boards.start()
        view = View(host.bridge, Latest(host.journal), console)
        waits: list[Coroutine[Any, Any, Any]] = [stop.wait(), host.failed(), view.run()]
        if wanted:
            waits.append(boards.ended())
        await _first(waits, seconds)
        _say(console, "stopping" + (": boards send what they still have" if wanted else ""))
    except HostError as error:
        failure = error
    finally:
        stuck = await boards.stop()
        await host.stop()
    _farewell(console, host)
    if failure is not None:
        raise failure
    return 1 if stuck or host.commits.failing else 0


async def _first(waits: list[Coroutine[Any, Any, Any]], seconds: float | None) -> None:
    """Until one returns or the time is over; raises what it raised."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stop_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; a second SIGINT ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    return stop


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _farewell(console: Console, host: Host) -> None:
    data = host.settings.host.data
    where = "" if data == "data" else f" --data {data}"
    _say(console, f"{host.commits.committed} records stored durably in {host.data.resolve()}")
    _say(console, f"  next: meuse query{where}      readings, as a table")
    _say(console, f"        meuse devices{where}    who was there, and what is missing")


class _StandardError(logging.StreamHandler[Any]):
    """Writes to what sys.stderr is now: the live table puts itself in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        raise AttributeError("always standard error")


def _log_to_stderr(level: str) -> None:
    handler = _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    with contextlib.suppress(AttributeError):
        logging.getLogger("asyncio").setLevel("WARNING")
