"""Virtual boards as child processes: what a person would plug in, started and ended by the host.

Finds the simulator beside the host in the repository; an installed host without it says so. Ends
boards by SIGTERM, upon which they flush, send what is left and exit 0; by nothing else, but for
one that does not come to an end.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from meuse import sim_links
from meuse.errors import ConfigError, HostError
from meuse.keys import FOLDER as KEYS_FOLDER
from meuse.keys import KeyStore

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
SIMULATOR = ROOT / "firmware/sim/virtual_board.py"
SCENARIOS = ROOT / "firmware/sim/scenarios"
BUILD = ROOT / "firmware/build.py"

# Boards under the data folder: flash, serial port, logs, and what their sensors were told.
FOLDER = "boards"

# A board drains at its own pace; what takes longer is stuck.
DRAIN_S = 60.0

# For boards that try other links than their product has.
SEVERAL_LINKS_HEAP = "192k"

ALL = ("stove", "weather", "building")


@dataclass(frozen=True)
class Board:
    """One virtual board under a data folder, in the world of `scenario`, a TOML file."""

    name: str
    folder: Path
    scenario: Path

    @property
    def device(self) -> str:
        return f"{self.name}-1"

    @property
    def port(self) -> Path:
        """Its serial port, a link to a pty, there while it runs."""
        return self.folder / "tty"

    @property
    def log(self) -> Path:
        return self.folder / "world.log"

    def still_runs(self) -> bool:
        """Whether a board of an earlier run plays here; it ends by itself when its host has gone."""
        try:
            with (self.folder / "lock").open() as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def boards(data: Path, names: tuple[str, ...]) -> list[Board]:
    """The boards of these scenarios, by name or by an example's folder; ConfigError for one that does not exist."""
    return [_board(data, name) for name in names]


def _board(data: Path, name: str) -> Board:
    own = Path(name) / "scenario.toml"
    if own.is_file():
        called = f"example-{own.resolve().parent.name}"
        return Board(called, data / FOLDER / called, own.resolve())
    known = sorted(path.stem for path in SCENARIOS.glob("*.toml"))
    if name not in known:
        there = ", ".join([*known, "or a folder with a scenario.toml"])
        raise ConfigError(f"no scenario {name!r}", f"there are: {there}")
    return Board(name, data / FOLDER / name, SCENARIOS / f"{name}.toml")


async def prepare(data: Path, wanted: list[Board]) -> None:
    """Interpreter found, firmware compiled, keys made; raises HostError with what to do."""
    if not SIMULATOR.exists():
        raise HostError("the simulator is not installed with this package", "run it from a clone: make run")
    interpreter()
    store = KeyStore(data / KEYS_FOLDER)
    for board in wanted:
        store.provision(board.device)
        store.keys(board.device)  # one that is broken is better said now than by a board that is refused
    await _compile()


def interpreter() -> str:
    """MicroPython as MICROPYTHON names it, or beside this Python, or on the path."""
    named = os.environ.get("MICROPYTHON")
    beside = Path(sys.executable).with_name("micropython")
    found = shutil.which(named or (str(beside) if beside.exists() else "micropython"))
    if found is None:
        raise HostError(
            f"no MicroPython: {named} cannot be run" if named else "no MicroPython for the boards",
            "run `make setup`, or name an interpreter with MICROPYTHON=path",
        )
    return found


async def _compile() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(BUILD),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise HostError("the firmware does not compile:\n" + output.decode(errors="replace").rstrip())


class VirtualBoards:
    """Children of this process; `start` them, `ended` tells of one that died, `stop` them."""

    def __init__(self, wanted: list[Board], data: Path, host: str, links: list[str] | None = None) -> None:
        """`links`: kinds that stand in for the products' own; several need the memory of a 128 kB board."""
        self._wanted = wanted
        self._links = links or []
        self._keys = KeyStore(data / KEYS_FOLDER)
        self._host = host
        self._running: dict[Board, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        for board in self._wanted:
            board.folder.mkdir(parents=True, exist_ok=True)
            with board.log.open("ab") as log_file:
                self._running[board] = await asyncio.create_subprocess_exec(
                    sys.executable,
                    str(SIMULATOR),
                    *("--scenario", str(board.scenario)),
                    *("--dir", str(board.folder), "--device", board.device),
                    *("--host", self._host, "--key", str(self._keys.path(board.device))),
                    *("--parent", str(os.getpid())),
                    *self._words(board),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    # A Ctrl-C in the terminal is for the host, which ends its boards in order.
                    start_new_session=True,
                )

    def _words(self, board: Board) -> list[str]:
        if not self._links:
            return []
        return [*sim_links.words(board.name, self._links, self._wanted[0].port), "--heap", SEVERAL_LINKS_HEAP]

    async def ended(self) -> None:
        """Returns never, but raises HostError when a board ends by itself."""
        waits = {asyncio.create_task(process.wait()): board for board, process in self._running.items()}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        for task in done:
            raise HostError(*_words(waits[task], task.result()))

    async def stop(self) -> list[Board]:
        """Let every board drain and end; returns those that had to be killed or failed. Kills all if interrupted."""
        results = []
        try:
            for passes_on in (False, True):  # what others still have goes through a gateway
                going = [b for b in self._running if sim_links.passes_on(b.name, self._links) == passes_on]
                for board in going:
                    if self._running[board].returncode is None:
                        self._running[board].send_signal(signal.SIGTERM)
                results += await asyncio.gather(*(self._drained(board, self._running[board]) for board in going))
        except BaseException:
            for process in self._running.values():
                if process.returncode is None:
                    process.kill()
            raise
        self._running.clear()
        return [board for board in results if board is not None]

    async def _drained(self, board: Board, process: asyncio.subprocess.Process) -> Board | None:
        try:
            async with asyncio.timeout(DRAIN_S):
                status = await process.wait()
        except TimeoutError:
            log.error("%s does not end; killed after %d s", board.device, int(DRAIN_S))
            process.kill()
            status = await process.wait()
        if status == -signal.SIGTERM:
            return None  # told before it was listening, hence before it measured anything
        if status:
            message, advice = _words(board, status)
            log.error("%s; %s", message, advice)
        return board if status else None


def _words(board: Board, status: int) -> tuple[str, str]:
    lines = board.log.read_text(errors="replace").strip().splitlines()
    last = f": {lines[-1]}" if lines else ""
    return f"{board.device} ended with status {status}{last}", f"see {board.log}"
