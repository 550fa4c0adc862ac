"""`meuse run` in the foreground: signals, the view, virtual boards, and how it all ends.

Stops on SIGINT, SIGTERM, SIGHUP (the terminal was closed), after `--for` seconds, or when a part fails;
always in the same order: boards drain, links close, everything that came is durable, then the process ends.
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

from meuse import checks, findings, sim, sim_faults, sim_links
from meuse.errors import HostError, NotReachable
from meuse.invocation import meuse
from meuse.latest import Latest
from meuse.live import View
from meuse.outlet import Outlet, patient
from meuse.run import Host
from meuse.settings import DEFAULT_LISTEN, SerialSettings, Settings

# Without a terminal: often enough for somebody who tries it, seldom enough for a service's log.
LINES_EVERY_S = 5.0
LOG_LINES_EVERY_S = 60.0

# The system chooses; of use to boards that are started by this host and told.
ANY_PORT = "127.0.0.1:0"

# Where boards on TCP knock when this host listens nowhere.
NO_HOST = "127.0.0.1:7878"


def check(found: Settings, with_sim: bool) -> int:
    """Look at everything `run` needs, start nothing; 0 when all is well."""
    seen = checks.check_host(found)
    if with_sim and found.tcp.listen is DEFAULT_LISTEN:
        seen = [each._replace(mark="note", advice="") if each.what.startswith("tcp ") else each for each in seen]
    if with_sim:
        seen.append(checks.interpreter(needed=True))
    return findings.report(seen)


def run(found: Settings, names: tuple[str, ...], seconds: float | None) -> int:
    """Run until told to stop, with virtual boards of these names; 0 when everything that came is durable."""
    # Beside virtual boards only what is wrong is worth a line.
    log_to_stderr("warning" if names and found.host.log == "info" else found.host.log)
    with patient() as output:
        return asyncio.run(_run(found, names, seconds, output))


def run_boards(
    names: tuple[str, ...],
    data: Path,
    host: str,
    seconds: float | None,
    links: list[str],
    faults: list[str],
    every_s: float,
) -> int:
    """Only virtual boards; 0 when all of them ended with everything sent. See sim.VirtualBoards, sim_faults.play."""
    sim_faults.check(faults, sim.boards(data, names or sim.ALL))
    sim_links.check(links)
    log_to_stderr("info")
    with patient():
        return asyncio.run(_run_boards(names or sim.ALL, data, host, seconds, links, faults, every_s))


def switch(names: tuple[str, ...], data: Path, begin: list[str], end: list[str]) -> int:
    """Breaks and mends what is named on boards that somebody runs; 0 when all of them heard of it."""
    wanted = sim.boards(data, names or sim.ALL)
    sim_faults.check([*begin, *end], wanted)
    changes = [(name, True) for name in begin] + [(name, False) for name in end]
    told = [sim_faults.switch(board, name, on) for name, on in changes for board in wanted]
    return 0 if all(told) else 1


async def _run_boards(
    names: tuple[str, ...],
    data: Path,
    host: str,
    seconds: float | None,
    links: list[str],
    faults: list[str],
    every_s: float,
) -> int:
    console = Console()
    wanted = sim.boards(data, tuple(sim_links.boards(names, links)))
    await sim.prepare(data, wanted)
    stop = stop_signals()
    boards = sim.VirtualBoards(wanted, data, host, links)
    try:
        _say_who_lingers(console, wanted)
        await boards.start()
        for board in wanted:
            _say(console, f"{board.device}: serial port {board.port}, log {board.log}")
        for line in sim_links.next_steps(links, data, host):
            _say(console, line)
        waits: list[Coroutine[Any, Any, Any]] = [stop.wait(), boards.ended()]
        if faults:
            waits.append(sim_faults.play([board.folder for board in wanted], faults, every_s))
        await _first(waits, seconds)
        _say(console, "stopping: boards send what they still have")
    finally:
        stuck = await boards.stop()
    return 1 if stuck else 0


async def _run(found: Settings, names: tuple[str, ...], seconds: float | None, output: Outlet) -> int:
    console = Console()
    data = Path(found.host.data)
    wanted = sim.boards(data, names)
    if wanted:
        console.print("compiling the firmware", highlight=False)
        await sim.prepare(data, wanted)
        ports = [SerialSettings(port=str(board.port)) for board in wanted]
        found = dataclasses.replace(found, serial=[*found.serial, *ports])
    stop = stop_signals()
    host = await _started(found, console, anywhere=bool(wanted) and found.tcp.listen is DEFAULT_LISTEN)
    boards = sim.VirtualBoards(wanted, data, host.tcp[0].address if host.tcp else NO_HOST)
    failure: HostError | None = None
    stuck: list[sim.Board] = []
    try:
        _say_who_lingers(console, wanted)
        await boards.start()
        every_s = LINES_EVERY_S if wanted else LOG_LINES_EVERY_S
        view = View(host.bridge, Latest(host.journal), console, every_s, lambda: output.busy)
        waits: list[Coroutine[Any, Any, Any]] = [stop.wait(), host.failed(), view.run()]
        if wanted:
            waits.append(boards.ended())
        await _first(waits, seconds)
        _say(console, "stopping" + (": boards send what they still have" if wanted else ""))
    except HostError as error:
        failure = error
    finally:
        if wanted:  # their ports go with them
            logging.getLogger("meuse.links.serial").setLevel(logging.ERROR)
        stuck = await boards.stop()
        await host.stop()
    _farewell(console, host)
    if failure is not None:
        raise failure
    return 1 if stuck or host.commits.failing else 0


async def _started(found: Settings, console: Console, anywhere: bool) -> Host:
    """A running host; `anywhere`: nobody asked for its address, so a free one is as good."""
    host = Host(found)
    try:
        await host.start()
    except NotReachable as busy:
        if not anywhere:
            raise
        host = Host(dataclasses.replace(found, tcp=dataclasses.replace(found.tcp, listen=[ANY_PORT])))
        await host.start()
        _say(console, f"{busy.message}; taking {host.tcp[0].address} for these boards")
    return host


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


def stop_signals() -> asyncio.Event:
    """Set by the first SIGINT, SIGTERM or SIGHUP; a second SIGINT ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants it ignored
        loop.add_signal_handler(signal.SIGHUP, told)
    return stop


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _say_who_lingers(console: Console, wanted: list[sim.Board]) -> None:
    if any(board.still_runs() for board in wanted):
        _say(console, "waiting for the last run's boards to end")


def _farewell(console: Console, host: Host) -> None:
    data = host.settings.host.data
    where = "" if data == "data" else f" --data {data}"
    _say(console, f"{host.commits.committed} records stored durably in {host.data.resolve()}")
    _say(console, f"  next: {meuse('query' + where)}      the readings, as a table")
    _say(console, f"        {meuse('devices' + where)}    who was there, and what is missing")


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


def log_to_stderr(level: str) -> None:
    handler = _StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    with contextlib.suppress(AttributeError):
        logging.getLogger("asyncio").setLevel("WARNING")
