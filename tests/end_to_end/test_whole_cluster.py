"""A whole cell at work: whoever is killed, whichever wire is cut, nothing acknowledged is lost, nothing comes twice.

Real: three `meuse run`, two `meuse work store`, two `meuse work topics`, `meuse send`, three nats-servers, PostgreSQL
with fsync, Mosquitto and who listens there, sockets.
Light boards on the shared protocol, with its CommandWindow. Simulated: the cut, by a proxy that passes no more.
The order of the blows, and what boards and people do, come from SEED; when it meets what, from the machine.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from meuse.journal import postgres as connections
from meuse_protocol import commands as codes
from meuse_protocol.received import RangeSet

from tests.cut_wires import Wire
from tests.end_to_end.whole_cluster import STREAM, CellHost, CellWorker, cell
from tests.end_to_end.whole_scene import Scene
from tests.host.stores import rows
from tests.topics_listener import validate

SEED = 26_04
ENDS = {codes.DONE: "done", codes.FAILED: "failed", codes.UNKNOWN_OP: "refused"}


class Blows(Scene):
    """What can happen to a cell."""

    async def play(self) -> None:
        """Every blow once, each when all that was hit before is up again."""
        await self.begin()
        every: list[Callable[[], Awaitable[None]]] = [
            self.kill_leading_host, self.kill_other_host, self.kill_nats_leader, self.kill_other_nats,
            self.pause_nats, self.kill_writer, self.kill_postgres, self.cut_leading_host_from_postgres,
            self.cut_host_from_postgres, self.cut_leading_host_from_nats, self.cut_host_from_boards, self.cut_writer,
            self.kill_publisher, self.cut_publisher, self.cut_publisher_from_broker, self.cut_leading_host_from_broker,
        ]  # fmt: skip
        self.chance.shuffle(every)
        for blow in every:
            await self.until(lambda: self.cell.whole, "all of it is up again", 0.1)
            await blow()
        await self.end()
        await asyncio.to_thread(stored_once, self)
        await self.all_written()
        await self.all_published()
        await self.until(lambda: self.cell.whole, "all of it is up at the end", 0.1)

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

    async def kill_writer(self) -> None:
        worker = self.chance.choice(self.cell.writers)
        worker.kill()
        await self.written("worker of the store killed")
        worker.start()

    async def kill_publisher(self) -> None:
        worker = self.chance.choice(self.cell.publishers)
        worker.kill()
        await self.published("worker of topics killed")
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
        host = self.chance.choice([self.at[board.device] for board in self.boards])
        await self.cut(host.boards)
        await self.served("host cut off from its boards")
        self.cell.wires.heal(host.boards, late=True)

    async def cut_writer(self) -> None:
        """Its rows and acknowledgements come late, when others have done it all."""
        worker: CellWorker = self.chance.choice(self.cell.writers)
        await self.cut(*worker.ways.all)
        await self.written("worker of the store cut off")
        self.cell.wires.heal(*worker.ways.all, late=True)

    async def cut_publisher(self) -> None:
        """Its messages come late, when others have published it all."""
        worker: CellWorker = self.chance.choice(self.cell.publishers)
        await self.cut(*worker.ways.all)
        await self.published("worker of topics cut off")
        self.cell.wires.heal(*worker.ways.all, late=True)

    async def cut_publisher_from_broker(self) -> None:
        worker: CellWorker = self.chance.choice(self.cell.publishers)
        await self.cut_for(worker.ways.broker)
        await self.published("worker of topics cut off from the broker, and back")

    async def cut_leading_host_from_broker(self) -> None:
        await self.cut_for((await self.leader()).ways.broker)
        await self.published("leading host cut off from the broker, and back")


def test_whoever_is_killed_and_whatever_is_cut(tmp_path: Path) -> None:
    print("seed", SEED)
    with cell(tmp_path) as found:

        async def run() -> Scene:
            scene = Blows(found, SEED)
            try:
                await scene.play()
            finally:
                print(*scene.times, sep="\n")
            return scene

        scene = asyncio.run(run())
        found.stop()
        in_store_once(scene)
        at_backend(scene)
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


def at_backend(scene: Scene) -> None:
    """Every row was heard, as the document says, and first in the order of the journal; doubles are recognisable."""
    validate(scene.backend.heard)
    ids = "SELECT row_number() OVER (ORDER BY id), stream, seq FROM journal_records"
    came = {(stream, seq): at for at, stream, seq in rows(scene.cell.journal.url, ids)}
    telemetry = scene.backend.of("telemetry")
    for board in scene.boards:
        order = [came[form["stream"], form["seq"]] for form in telemetry if form["device"] == board.device]
        firsts = list(dict.fromkeys(order))
        assert firsts == sorted(firsts), board.device
    heard = scene.backend.readings()
    assert set(heard) == {row for board in scene.boards for row in board.rows}
    late = len(set(scene.backend.readings("backfill")))
    assert late < len(set(heard)) / 2, "workers publish what is live"
    print(f"{len(set(heard))} rows at the broker, {len(heard) - len(set(heard))} of them twice, {late} as backfill")


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
