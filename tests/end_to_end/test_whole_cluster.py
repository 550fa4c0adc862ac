"""A whole cell at work: whoever is killed, whichever wire is cut, nothing acknowledged is lost, nothing comes twice.

Real: three `meuse run`, two `meuse work store`, `meuse send`, three nats-servers, PostgreSQL with fsync, sockets.
Light boards on the shared protocol, with its CommandWindow. Simulated: the cut, by a proxy that passes no more.
The order of the blows, and what boards and people do, come from SEED; when it meets what, from the machine.
"""

import asyncio
import random
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from meuse.cli.send import write_between
from meuse.commands import table
from meuse.commands.table import Request
from meuse.errors import HostError
from meuse.journal import postgres as connections
from meuse.journal.place import Place
from meuse_protocol import commands as codes
from meuse_protocol.received import RangeSet

from tests.cut_wires import Wire
from tests.end_to_end.river import MEUSE
from tests.end_to_end.whole_cluster import STREAM, Cell, CellHost, CellWorker, cell
from tests.host.commanded_board import CommandedBoard
from tests.host.hosts import key_of
from tests.host.readings_board import utc_ms
from tests.host.stores import good, rows

SEED = 26_04
BOARDS = 6
PATIENCE_S = 180.0
SILENT_S = 1.5  # a board that hears nothing of what it sent for so long tries another host; then for twice as long
ENDS = {codes.DONE: "done", codes.FAILED: "failed", codes.UNKNOWN_OP: "refused"}


class Scene:
    """The cell with its boards, which live until `stop`, and people who ask for something all the while."""

    def __init__(self, found: Cell) -> None:
        self.cell = found
        self.chance = random.Random(SEED)
        self.boards = [CommandedBoard(f"b-{n}", key_of(found.keys.parent, f"b-{n}")) for n in range(BOARDS)]
        self.asked: dict[int, tuple[str, str]] = {}  # by number: device and op
        self.times: list[str] = []
        self._place = Place(found.keys.parent, found.journal)
        self._stop = asyncio.Event()
        self._at: dict[str, CellHost] = {}

    # -- boards

    async def live(self, board: CommandedBoard, chance: random.Random) -> None:
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
        others = [host for host in self.cell.hosts if host is not self._at.get(board.device)]
        host = self._at[board.device] = chance.choice(others)
        try:
            await board.connect(f"127.0.0.1:{host.boards.port}")
        except OSError:
            board.unplug()

    # -- people

    async def ask(self, chance: random.Random) -> None:
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
            if not good(self.cell.store.url):
                return False
            found = dict(rows(self.cell.store.url, "SELECT stream, max(seq) FROM readings GROUP BY stream"))
            return all(found.get(stream, 0) > seq for stream, seq in marks.items())

        await self.timed(name, new, "news of all boards are in the store", 0.1)

    async def all_written(self) -> None:
        """Readings and RESULTs."""
        count = len({row[:2] for board in self.boards for row in board.rows})
        count += sum(board.answers for board in self.boards)
        sql = "SELECT count(DISTINCT (stream, seq)) FROM readings"
        await self.timed("end", lambda: rows(self.cell.store.url, sql) == [(count,)], "all is in the store", 0.1)

    # -- blows

    async def leader(self) -> CellHost:
        await self.until(lambda: self.cell.leader, "a host leads")
        assert self.cell.leader
        return self.cell.leader

    async def kill_leading_host(self) -> None:
        host = await self.leader()
        host.kill()
        await self.timed("leading host killed", lambda: self.cell.leader, "another one leads")
        await self.served("leading host killed")
        host.start()

    async def kill_other_host(self) -> None:
        leader = await self.leader()
        host = self.chance.choice([host for host in self.cell.hosts if host is not leader])
        host.kill()
        await self.served("another host killed")
        host.start()

    async def kill_nats_leader(self) -> None:
        server = self.cell.cluster.leader(STREAM) or self.cell.cluster.servers[0]
        server.kill()
        await self.written("nats-server that leads the stream killed")
        await asyncio.to_thread(server.start)

    async def kill_other_nats(self) -> None:
        leader = self.cell.cluster.leader(STREAM)
        server = self.chance.choice([one for one in self.cell.cluster.servers if one is not leader])
        server.kill()
        await self.written("another nats-server killed")
        await asyncio.to_thread(server.start)

    async def pause_nats(self) -> None:
        """All its wires at once, those to the other servers, too."""
        server = self.chance.choice(self.cell.cluster.servers)
        server.pause()
        try:
            await self.written("nats-server cut off")
        finally:
            server.go_on()

    async def kill_worker(self) -> None:
        worker = self.chance.choice(self.cell.workers)
        worker.kill()
        await self.written("worker killed")
        worker.start()

    async def kill_postgres(self) -> None:
        self.cell.postgres.kill()
        await asyncio.sleep(self.chance.uniform(0.2, 1.0))
        await asyncio.to_thread(self.cell.postgres.start)
        await self.served("PostgreSQL killed, and back")
        await self.written("PostgreSQL killed, and back")

    async def cut(self, *wires: Wire) -> None:
        """Until something was stopped."""
        before = sum(wire.held for wire in wires)
        self.cell.wires.cut(*wires)
        await self.until(lambda: sum(wire.held for wire in wires) > before, "the cut stops something")

    async def cut_for(self, *wires: Wire) -> None:
        """For some seconds; then what was held comes late, or its connections break."""
        await self.cut(*wires)
        await asyncio.sleep(self.chance.uniform(2.0, 5.0))
        self.cell.wires.heal(*wires, late=self.chance.random() < 0.5)

    async def cut_leading_host_from_postgres(self) -> None:
        """Until it has stopped by itself, and PostgreSQL has given up its sessions, and another one leads."""
        host = await self.leader()
        wire = host.ways.postgres
        await self.cut(wire)
        await self.timed("leading host cut off from PostgreSQL", lambda: not host.leads, "it has stopped")
        self.cell.wires.expire(wire)
        await self.timed("its sessions given up by PostgreSQL", lambda: self.cell.leader, "another one leads")
        await self.served("leading host cut off from PostgreSQL")
        self.cell.wires.heal(wire, late=False)

    async def cut_host_from_postgres(self) -> None:
        leader = await self.leader()
        host = self.chance.choice([host for host in self.cell.hosts if host is not leader])
        await self.cut_for(host.ways.postgres)
        await self.served("another host cut off from PostgreSQL, and back")

    async def cut_leading_host_from_nats(self) -> None:
        await self.cut_for(*(await self.leader()).ways.nats)
        await self.written("leading host cut off from NATS, and back")

    async def cut_host_from_boards(self) -> None:
        """Its boards go elsewhere; what they had said comes late."""
        host = self.chance.choice([self._at[board.device] for board in self.boards])
        await self.cut(host.boards)
        await self.served("host cut off from its boards")
        self.cell.wires.heal(host.boards, late=True)

    async def cut_worker(self) -> None:
        """Its rows and acknowledgements come late, when others have done it all."""
        worker: CellWorker = self.chance.choice(self.cell.workers)
        await self.cut(*worker.ways.all)
        await self.written("worker cut off")
        self.cell.wires.heal(*worker.ways.all, late=True)

    # -- all of it

    async def play(self) -> None:
        for board in self.boards:
            board.begin()
        lives = [
            asyncio.create_task(self.live(board, random.Random(SEED + at))) for at, board in enumerate(self.boards)
        ]
        await self.served("start")
        asking = asyncio.create_task(self.ask(random.Random(-SEED)))
        await self.written("start")
        blows: list[Callable[[], Awaitable[None]]] = [
            self.kill_leading_host, self.kill_other_host, self.kill_nats_leader, self.kill_other_nats,
            self.pause_nats, self.kill_worker, self.kill_postgres, self.cut_leading_host_from_postgres,
            self.cut_host_from_postgres, self.cut_leading_host_from_nats, self.cut_host_from_boards, self.cut_worker,
        ]  # fmt: skip
        self.chance.shuffle(blows)
        for blow in blows:
            await self.until(lambda: self.cell.whole, "all of it is up again", 0.1)
            await blow()
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(asking, *lives), PATIENCE_S)
        await self._settled()
        await self.all_written()
        await self.until(lambda: self.cell.whole, "all of it is up at the end", 0.1)
        print(*self.times, sep="\n")

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


def test_whoever_is_killed_and_whatever_is_cut(tmp_path: Path) -> None:
    print("seed", SEED)
    with cell(tmp_path) as found:

        async def run() -> Scene:
            scene = Scene(found)
            await scene.play()
            return scene

        scene = asyncio.run(run())
        found.stop()
        stored_once(scene)
        in_store_once(scene)
        commands_truly(scene)


def stored_once(scene: Scene) -> None:
    """Every record of every board is in the journal, byte for byte, and once."""
    db = connections.open_reader(scene.cell.journal)
    for board in scene.boards:
        stream = board.log.stream
        found = db.execute("SELECT seq, record FROM records WHERE stream = ? ORDER BY seq", (stream,)).fetchall()
        assert found == sorted(board.log.created.items())
        (received,) = db.execute("SELECT received FROM streams WHERE stream = ?", (stream,)).fetchone()
        assert RangeSet.from_bytes(received).ranges() == [(1, board.made)]
    assert db.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM events WHERE kind = 'conflict'").fetchone() == (0,)
    db.close()
    print(sum(board.made for board in scene.boards), "records, acknowledged and stored once")


def in_store_once(scene: Scene) -> None:
    """Every value of every row, and once."""
    url = scene.cell.store.url
    sql = 'SELECT device, seq, "row", channel, round(value * 10)::int FROM readings'
    sql += " WHERE channel IS NOT NULL ORDER BY 1, 2, 3, 4"
    expected = [
        (*row, channel, value)
        for board in scene.boards
        for count, row in enumerate(board.rows, 1)
        for channel, value in (("flue_temp", 200 + count % 50), ("pellets", 10 * count), ("room_temp", 210))
    ]
    assert rows(url, sql) == expected
    answers = sum(board.answers for board in scene.boards)
    told = "SELECT count(*), count(DISTINCT (stream, seq)) FROM readings WHERE channel IS NULL"
    assert rows(url, told) == [(answers, answers)], "RESULT records have a row each, too"
    assert rows(url, "SELECT count(*) FROM meuse_waiting") == [(0,)]
    print(len(expected), "values in the store, each once")


def commands_truly(scene: Scene) -> None:
    """Each was carried out once at most, and its state says what became of it."""
    found = dict(rows(scene.cell.journal.url, "SELECT id, state FROM commands"))
    assert found.keys() == {f"c-{number}" for number in scene.asked}
    boards = {board.device: board for board in scene.boards}
    for number, (device, op) in scene.asked.items():
        board = boards[device]
        assert sum(one.acts[number] for one in scene.boards) == board.acts[number] <= 1, f"c-{number} {op}"
        said = [ENDS[code] for code in board.results.get(number, ()) if code in ENDS]
        state = found[f"c-{number}"]
        assert [state] == said or (not said and state in ("expired", "unknown")), f"c-{number} {op}: {said}, {state}"
    deliveries = sum(board.deliveries for board in scene.boards)
    print(
        dict(Counter(found.values())), deliveries, "deliveries", sum(sum(b.acts.values()) for b in scene.boards), "acts"
    )
