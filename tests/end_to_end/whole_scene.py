"""A cell with boards that live on it and people who ask for something all the while; and what a test waits for."""

import asyncio
import random
import subprocess
import time
from collections.abc import Callable
from functools import partial

from meuse.cli.send import write_between
from meuse.commands import table
from meuse.commands.table import Request
from meuse.errors import HostError
from meuse.journal.place import Place

from tests.end_to_end.river import MEUSE
from tests.end_to_end.whole_cluster import Cell, CellHost
from tests.host.commanded_board import CommandedBoard
from tests.host.hosts import key_of
from tests.host.readings_board import utc_ms
from tests.host.stores import good, rows
from tests.topics_listener import Listener

BOARDS = 6
PATIENCE_S = 180.0
SILENT_S = 1.5  # a board that hears nothing of what it sent for so long tries another host; then for twice as long


class Scene:
    """The cell with its boards, which live until `stop`, and people who ask for something all the while."""

    def __init__(self, found: Cell, seed: int) -> None:
        self.cell = found
        self.seed = seed
        self.chance = random.Random(seed)
        self.boards = [CommandedBoard(f"b-{n}", key_of(found.keys.parent, f"b-{n}")) for n in range(BOARDS)]
        self.asked: dict[int, tuple[str, str]] = {}  # by number: device and op
        self.times: list[str] = []
        self.backend = Listener(found.broker.port)
        self._place = Place(found.keys.parent, found.journal)
        self._stop = asyncio.Event()
        self._works: list[asyncio.Task[None]] = []
        self.at: dict[str, CellHost] = {}  # by device: where it is, or was last

    # -- begin and end

    async def begin(self) -> None:
        await self.until(lambda: self.backend.listens, "the backend listens")
        for at, board in enumerate(self.boards):
            board.begin()
            self._works.append(asyncio.create_task(self._live(board, random.Random(self.seed + at))))
        await self.served("start")
        self._works.append(asyncio.create_task(self._ask_on(random.Random(self.seed + 100))))
        await self.until(lambda: good(self.cell.store.url), "the store has its table", 0.2)
        await self.written("start")
        await self.published("start")

    async def end(self) -> None:
        """Every board is drained, and every command has its end."""
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._works), PATIENCE_S)
        await self._settled()

    # -- boards

    async def _live(self, board: CommandedBoard, chance: random.Random) -> None:
        """Measures; changes sides now and then, and when nobody answers."""
        heard, told, silent_s = board.acked, time.monotonic(), SILENT_S
        while not self._stop.is_set() or board.acked < board.made:
            if board.acked != heard or board.acked == board.made:
                heard, told, silent_s = board.acked, time.monotonic(), SILENT_S
            if board.plugged and time.monotonic() - told > silent_s:
                board.unplug()
                silent_s = min(2 * silent_s, 30.0)
            elif board.plugged and chance.random() < 0.01:
                board.unplug()
            if not board.plugged:
                told = time.monotonic()
                await self._connect(board, chance)
            if not self._stop.is_set() and board.made - board.acked < 40:
                board.measure(rows=chance.randint(1, 4))
            await asyncio.sleep(0.1)
        board.unplug()

    async def _connect(self, board: CommandedBoard, chance: random.Random) -> None:
        others = [host for host in self.cell.hosts if host is not self.at.get(board.device)]
        host = self.at[board.device] = chance.choice(others)
        try:
            await board.connect(f"127.0.0.1:{host.boards.port}")
        except OSError:
            board.unplug()

    # -- people

    async def _ask_on(self, chance: random.Random) -> None:
        """One command after another, each until it is taken under its id; every tenth by `meuse send`."""
        number = 0
        while not self._stop.is_set():
            number += 1
            device = f"b-{chance.randrange(BOARDS)}"
            op = chance.choices(["act", "jam", "sing"], [10, 1, 1])[0]
            expires_ms = chance.choices([600_000, 50], [5, 1])[0]
            self.asked[number] = device, op
            await self.until(partial(self._ask, number, device, op, expires_ms), "it is taken", 0.2)
            await asyncio.sleep(0.3)

    def _ask(self, number: int, device: str, op: str, expires_ms: int) -> bool:
        if number % 10 == 0:
            return self._typed(number, device, op)
        request = Request(f"c-{number}", device, op, ["n", number], utc_ms() + expires_ms)
        try:
            write_between(self._place, lambda db: table.ask(db, request, utc_ms()))
            return True
        except HostError:  # PostgreSQL was killed: whether it has the command, nobody knows
            return False

    def _typed(self, number: int, device: str, op: str) -> bool:
        """On one machine, or on another one if it does not work there."""
        words = [str(MEUSE), "send", device, op, f"n={number}", "--id", f"c-{number}", "--expires", "10m"]
        for host in random.Random(number).sample(self.cell.hosts, len(self.cell.hosts)):
            ended = subprocess.run([*words, "--config", str(host.config)], capture_output=True, check=False)
            if ended.returncode == 0:
                return True
        return False

    # -- what is waited for

    async def until(self, what: Callable[[], object], why: str, each_s: float = 0.02) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await asyncio.to_thread(what):
            assert time.monotonic() < deadline, f"{why}: not within {PATIENCE_S} s\n{self.cell.logs()}"
            await asyncio.sleep(each_s)

    async def timed(self, name: str, what: Callable[[], object], why: str, each_s: float = 0.02) -> None:
        began = time.monotonic()
        await self.until(what, why, each_s)
        self.times.append(f"{name}: {why} after {time.monotonic() - began:.1f} s")

    async def served(self, name: str) -> None:
        """Every board has something acknowledged that it measured after now."""
        marks = {board.device: board.made for board in self.boards}
        await self.timed(
            name, lambda: all(board.acked > marks[board.device] for board in self.boards), "all boards are served"
        )

    async def written(self, name: str) -> None:
        """Of every board something is in the store that it measured after now."""
        marks = {board.log.stream: board.made for board in self.boards}

        def new() -> bool:
            found = dict(rows(self.cell.store.url, "SELECT stream, max(seq) FROM readings GROUP BY stream"))
            return all(found.get(stream, 0) > seq for stream, seq in marks.items())

        await self.timed(name, new, "news of all boards are in the store", 0.2)

    async def published(self, name: str) -> None:
        """Of every board the backend has heard something that it measured after now."""
        marks = {board.device: board.made for board in self.boards}

        def new() -> bool:
            heard = self.backend.readings()
            return all(any(one == device and seq > mark for one, seq, _ in heard) for device, mark in marks.items())

        await self.timed(name, new, "news of all boards are at the broker", 0.2)

    async def all_published(self) -> None:
        wanted = {row for board in self.boards for row in board.rows}
        await self.timed("end", lambda: wanted <= set(self.backend.readings()), "all is published", 0.1)

    async def all_written(self) -> None:
        """Readings and RESULTs are in the store."""
        count = len({row[:2] for board in self.boards for row in board.rows})
        count += sum(board.answers for board in self.boards)
        sql = "SELECT count(DISTINCT (stream, seq)) FROM readings"
        await self.timed("end", lambda: rows(self.cell.store.url, sql) == [(count,)], "all is in the store", 0.1)

    async def _settled(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        open_ones = "SELECT id, device, state, cid FROM commands WHERE NOT settled"
        while left := await asyncio.to_thread(rows, self.cell.journal.url, open_ones):
            assert time.monotonic() < deadline, f"{left}\n{self.cell.logs()}"
            for board in self.boards:  # a command is sent to a board that is there
                if not board.plugged:
                    await self._connect(board, self.chance)
            await asyncio.sleep(0.1)
        for board in self.boards:
            await board.drained(PATIENCE_S)
            board.unplug()
