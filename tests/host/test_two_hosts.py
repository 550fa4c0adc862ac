"""Two hosts with one journal in a real PostgreSQL, in the test's own process: boards and the lead change sides.

The boards are light clients on the shared protocol.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from meuse import catalog
from meuse.commands import table
from meuse.commands.table import Request
from meuse.journal.place import Place
from meuse.journal.shared import PostgresJournal
from meuse.postgres import Address
from meuse.query import store
from meuse.run import Host
from meuse_protocol.received import RangeSet
from meuse_protocol.schema import Schema

from tests.brokers import Broker
from tests.host.hosts import key_of, running
from tests.host.light_board import LightBoard, until
from tests.host.readings_board import ReadingsBoard
from tests.host.test_host_commands import DEVICE, Answering, done, silent, utc_ms
from tests.host.test_topics import heard_all, hurry, listening
from tests.postgres import Postgres
from tests.topics_listener import Listener

__all__ = ["hurry"]


class Pair:
    """Both hosts; `stop(0)` ends one of them in order."""

    def __init__(self, hosts: list[Host], stacks: list[AsyncExitStack]) -> None:
        self.hosts = hosts
        self._stacks = stacks

    def address(self, at: int) -> str:
        return self.hosts[at].tcp[0].address

    async def ask(self, sql: str, *arguments: object) -> list[Any]:
        return await self.hosts[-1].journal.read(lambda db: db.execute(sql, arguments).fetchall())

    async def stop(self, at: int) -> None:
        await self._stacks[at].aclose()

    async def until(self, sql: str, holds: Callable[[list[Any]], bool], why: str) -> None:
        found: list[Any] = []
        for _ in range(1200):
            found = await self.ask(sql)
            if holds(found):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{why}: {found}")


@asynccontextmanager
async def pair(folder: Path, address: Address, more: dict[str, object] | None = None) -> AsyncIterator[Pair]:
    """The first one leads."""
    (folder / "keys").mkdir()
    hosts, stacks = [], []
    async with AsyncExitStack() as all_of_them:
        for name in ("one", "two"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "keys").symlink_to(folder / "keys")
            stack = await all_of_them.enter_async_context(AsyncExitStack())
            host = await stack.enter_async_context(running(folder / name, journal={"url": address.url}, **more or {}))
            if not hosts:
                await until(lambda host=host: host._leads(), "the first one leads")
            hosts.append(host)
            stacks.append(stack)
        yield Pair(hosts, stacks)


def play(folder: Path, postgres: Postgres, scene: Callable[[Pair, Any], Any]) -> Address:
    address = postgres.database()

    async def run() -> None:
        async with pair(folder, address) as both:
            await scene(both, key_of(folder / "one", DEVICE))

    asyncio.run(run())
    return address


def test_a_board_that_goes_to_and_fro_is_acknowledged_right_by_both(tmp_path: Path, postgres: Postgres) -> None:
    async def scene(both: Pair, key: bytes) -> None:
        board = LightBoard(DEVICE, key)
        for turn in range(6):
            await board.connect(both.address(turn % 2))
            board.add(30)
            await board.drained()
            states = [host.bridge._identity.stream(board.log.stream) for host in both.hosts]
            here = states[turn % 2]
            assert here is not None and here.cum == board.made + 1, "it knows what the other one stored"
            board.unplug()
        ((count, stream),) = await both.ask("SELECT count(*), min(stream) FROM records")
        assert (count, stream) == (board.made, board.log.stream)
        assert await both.ask("SELECT count(*) FROM gaps") == [(0,)]
        ((received,),) = await both.ask("SELECT received FROM streams")
        assert RangeSet.from_bytes(received).ranges() == [(1, board.made)]

    play(tmp_path, postgres, scene)


def test_a_board_on_both_at_once_is_stored_once(tmp_path: Path, postgres: Postgres) -> None:
    """Two connections that both believe to be the board's: the same records go to both hosts at the same time."""

    async def scene(both: Pair, key: bytes) -> None:
        first = LightBoard(DEVICE, key)
        second = LightBoard(DEVICE, key, first.log)
        await first.connect(both.address(0))
        first.add(5)
        await first.drained()
        await second.connect(both.address(1))
        for _ in range(20):
            first.add(3)
            second.endpoint.record_added(first.log.next_seq() - 1)
            second._pump()
        await until(lambda: first.acked == first.made, "all of it is acknowledged")
        first.unplug()
        second.unplug()
        seqs = await both.ask("SELECT seq FROM records ORDER BY seq")
        assert seqs == [(seq,) for seq in range(1, first.made + 1)]
        assert await both.ask("SELECT count(*) FROM events WHERE kind = 'conflict'") == [(0,)]

    play(tmp_path, postgres, scene)


async def asked(both: Pair, name: str) -> None:
    request = Request(name, DEVICE, "fan", ["on", 1], utc_ms() + 60_000)
    await both.hosts[0].journal.write(lambda db: table.ask(db, request, utc_ms()))


STATES = "SELECT state FROM command_states WHERE command = 'one' ORDER BY id"


def test_a_command_goes_by_the_host_that_has_the_board_and_runs_once(tmp_path: Path, postgres: Postgres) -> None:
    """Asked of the one that leads, sent by the other; the board changes sides before it answers; then the lead does."""

    async def scene(both: Pair, key: bytes) -> None:
        board = Answering(DEVICE, key)
        board.begin(1)
        board.reply = silent
        await board.connect(both.address(1))
        await board.drained()
        await asked(both, "one")
        await until(lambda: board.got, "it is sent")
        await board.drained()
        board.unplug()
        await board.connect(both.address(0))
        before = len(board.got)
        await until(lambda: len(board.got) > before, "it is sent again, by the other host")
        assert len({(command.cid, command.op, tuple(command.deadline)) for command in board.got}) == 1
        board.unplug()
        await both.stop(0)
        await until(lambda: both.hosts[1]._leads(), "the other one leads")
        board.reply = done
        await board.connect(both.address(1))
        await both.until(STATES, lambda found: found[-1:] == [("done",)], "it is done")
        assert await both.ask(STATES) == [("queued",), ("sent",), ("done",)]
        assert board.ops == [(1, "fan")]
        board.unplug()

    play(tmp_path, postgres, scene)


def test_commands_to_many_boards_on_two_hosts_are_each_sent_once(tmp_path: Path, postgres: Postgres) -> None:
    async def scene(both: Pair, key: bytes) -> None:
        boards = []
        for number in range(6):
            board = Answering(f"b-{number}", key_of(tmp_path / "one", f"b-{number}"))
            board.begin(1)
            await board.connect(both.address(number % 2))
            boards.append(board)
        for board in boards:
            await board.drained()
        for number in range(24):
            request = Request(f"c-{number}", f"b-{number % 6}", "fan", ["on", 1], utc_ms() + 60_000)
            await both.hosts[number % 2].journal.write(lambda db, request=request: table.ask(db, request, utc_ms()))
        settled = "SELECT count(*) FROM commands WHERE state = 'done'"
        await both.until(settled, lambda found: found == [(24,)], "all are done")
        assert [board.ops for board in boards] == [[(cid, "fan") for cid in range(1, 5)]] * 6
        steps = await both.ask("SELECT state, count(*) FROM command_states GROUP BY state ORDER BY state")
        assert steps == [("done", 24), ("queued", 24), ("sent", 24)]
        for board in boards:
            board.unplug()

    play(tmp_path, postgres, scene)


def test_lake_catalog_and_query_go_on_with_either_host(tmp_path: Path, postgres: Postgres) -> None:
    """Both see one lake folder; the readings of both hosts stand in one table, each once."""
    (tmp_path / "lake").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lake").symlink_to(tmp_path / "lake")
    schema = Schema(1, "air", 1, [("temp", "Cel", -1, 0)])

    async def scene(both: Pair, key: bytes) -> None:
        board = Answering(DEVICE, key)
        board.begin(1)
        board.announce(schema)
        for turn in range(4):
            await board.connect(both.address(turn % 2))
            for number in range(5):
                board.measure(200 + turn * 5 + number, utc_ms())
            await board.drained()
            board.unplug()
        await both.until("SELECT count(*) FROM anchors", lambda found: found[0][0] > 0, "the catalog has it")
        await until(lambda: [host for host in both.hosts if host._leaders["lake"].leads], "somebody writes the lake")
        ours = [host for host in both.hosts if host._leaders["lake"].leads]
        assert await ours[0].lake.finish(), ours[0].lake.trouble
        await board.connect(both.address(1))
        board.measure(999, utc_ms())
        await board.drained()
        board.unplug()
        assert (await both.ask("SELECT position FROM cursors WHERE reader = 'lake'"))[0][0] > 0

    address = play(tmp_path, postgres, scene)
    with store.opened(Place(tmp_path / "two", address)) as db:
        rows = db.execute("SELECT value FROM readings WHERE channel = 'temp' ORDER BY value").fetchall()
    assert [round(value * 10) for (value,) in rows] == [*range(200, 220), 999]
    assert list((tmp_path / "lake").glob("*.parquet"))


def test_topics_of_both_hosts_come_from_the_one_that_leads(tmp_path: Path, postgres: Postgres, hurry: None) -> None:
    """A board of the other host is online and publishes; when the lead goes over no reading is lost."""

    def presence(backend: Listener) -> object:
        told = [heard.form["presence"] for heard in backend.heard if heard.topic.endswith(f"/{DEVICE}/state")]
        return told[-1] if told else None

    with Broker("nats", tmp_path / "broker") as broker:

        async def scene(both: Pair, key: bytes) -> None:
            backend = Listener(broker.port, "meuse/#")
            await listening(backend)
            board = ReadingsBoard(DEVICE, key)
            board.begin()
            await board.connect(both.address(1))
            board.measure(10)
            await heard_all(backend, board)
            assert [host.topics is not None for host in both.hosts] == [True, False]
            await until(lambda: presence(backend) == "online", "a board of the other host is there")
            await both.stop(0)
            board.measure(10)
            await heard_all(backend, board)
            assert presence(backend) == "online"
            board.unplug()
            await until(lambda: presence(backend) == "offline", "it is gone")
            backend.close()

        async def run() -> None:
            address = await asyncio.to_thread(postgres.database)
            more = {"mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}"}}
            async with pair(tmp_path, address, more) as both:
                await scene(both, key_of(tmp_path / "one", DEVICE))

        asyncio.run(run())


def test_the_lead_is_taken_over_when_postgresql_comes_back(tmp_path: Path) -> None:
    """Server down is as disk full: nothing acknowledged, window 0, alarm; all goes on without a restart."""
    server = Postgres()

    async def scene(both: Pair, key: bytes) -> None:
        board = LightBoard(DEVICE, key)
        await board.connect(both.address(1))
        board.add(3)
        await board.drained()
        server.kill()
        board.add(3)
        await until(lambda: both.hosts[1].commits.failing, "it says so")
        await until(lambda: not both.hosts[0]._leads(), "nobody leads")
        assert both.hosts[1].commits.held and board.acked < board.made
        await asyncio.to_thread(server.start)
        await board.drained()
        await until(lambda: any(host._leads() for host in both.hosts), "somebody leads again")
        told = {("journal-failed",), ("journal-recovered",)}
        await both.until("SELECT kind FROM events", lambda found: told <= set(found), "it is noted for people")
        assert await both.ask("SELECT seq FROM records ORDER BY seq") == [(seq,) for seq in range(1, 7)]
        board.unplug()

    try:
        play(tmp_path, server.start(), scene)
    finally:
        server.remove()


def test_a_cursor_of_one_host_is_the_cursor_of_all(postgres: Postgres) -> None:
    address = postgres.database()

    async def scene() -> None:
        one, two = await PostgresJournal.open(address, 1), await PostgresJournal.open(address, 1)
        await one.write(lambda db: catalog.move_cursor(db, "topics", 7, 1))
        assert await two.read(lambda db: catalog.position(db, "topics")) == 7
        await one.close()
        await two.close()

    asyncio.run(scene())
