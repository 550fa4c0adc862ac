"""Workers publish what is live, the host everything else; whoever is to publish, no reading is left out.

Real: hosts and workers in this process, three nats-servers, PostgreSQL, Mosquitto, sockets; light boards.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from meuse import catalog
from meuse.cluster import stream, workers
from meuse.cluster.worker import Worker
from meuse.config import read_settings
from meuse.delivery import Delivery
from meuse.errors import JournalError, LaterError
from meuse.journal.purge import purge_step
from meuse.journal.shared import PostgresJournal
from meuse.journal.sql import Database
from meuse.postgres import Address
from meuse.run import Host
from meuse.topics import outbox, progress, publisher
from meuse.topics import workers as topics_workers
from meuse.topics.reader import Batch, Reader
from meuse.topics.workers import TopicsWorker
from meuse_protocol import messages
from meuse_protocol.received import RangeSet

from tests.brokers import Broker
from tests.host.hosts import key_of, running
from tests.host.light_board import until
from tests.host.readings_board import ReadingsBoard, utc_ms
from tests.host.stores import rows
from tests.host.test_topics import connected, heard_all, listening
from tests.host.test_topics_outage import Cable
from tests.nats_cluster import Cluster
from tests.postgres import Postgres
from tests.topics_listener import Listener, validate

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "SAVE_S", 0.2)
    monkeypatch.setattr(publisher, "LATEST_S", 0.1)


class Place:
    """One journal, one stream of its own in the cluster, one broker; hosts and workers with the same settings."""

    def __init__(self, folder: Path, journal: Address, cluster: Cluster, broker: Broker) -> None:
        self.data = folder / "data"
        self.journal = journal
        self.broker = broker
        self.port = broker.port  # where hosts and workers find the broker
        self.live_within = "5min"
        name = journal.url.rpartition("/")[2].replace("_", "-")
        self._cluster: dict[str, Any] = {"servers": cluster.urls, "groups": ["topics"], "name": name, "partitions": 2}

    def _tables(self, mqtt: bool = True) -> dict[str, object]:
        broker = {"url": f"mqtt://127.0.0.1:{self.port}", "live_within": self.live_within}
        return {"mqtt": broker if mqtt else {}, "journal": {"url": self.journal.url, "lake": False}}

    def host(self, by_workers: bool = True, mqtt: bool = True) -> contextlib.AbstractAsyncContextManager[Host]:
        cluster = {**self._cluster, "groups": ["topics"] if by_workers else ["store"]}
        return running(self.data, cluster=cluster, **self._tables(mqtt))

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        tables = {"host": {"data": str(self.data)}, "cluster": self._cluster, **self._tables()}
        task = asyncio.create_task(workers.work("topics", read_settings(tables, "test")))
        try:
            yield
        finally:
            await stream.end([task])

    @asynccontextmanager
    async def other_worker(self) -> AsyncIterator[None]:
        """Of the group `store`, without any effect."""

        async def effect(found: Delivery) -> None:
            pass

        layout = stream.Layout(self._cluster["name"], self._cluster["partitions"], 3, 1 << 30)
        worker = Worker(stream.group_of(stream.STORE, ""), self._cluster["servers"], layout, effect)
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            await stream.end([task])

    def board(self, number: int = 1) -> ReadingsBoard:
        return ReadingsBoard(f"stove-{number}", key_of(self.data, f"stove-{number}"))


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres, cluster: Cluster) -> Iterator[Place]:
    with Broker("mosquitto", tmp_path / "broker") as broker:
        yield Place(tmp_path, postgres.database(), cluster, broker)


class Seen(TopicsWorker):
    put_off = 0  # batches

    async def publish(self, found: Delivery) -> None:
        try:
            await super().publish(found)
        except LaterError:
            self.put_off += 1
            raise


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Seen]]:
    """Workers at work in this process."""
    found: list[Seen] = []

    def noted(*arguments: Any) -> TopicsWorker:
        found.append(Seen(*arguments))
        return found[-1]

    monkeypatch.setattr(workers, "TopicsWorker", noted)
    yield found


async def listener(place: Place) -> Listener:
    """A backend that hears everything."""
    backend = Listener(place.broker.port)
    await listening(backend)
    return backend


def finished(backend: Listener) -> None:
    """All that it has heard is as the document says."""
    backend.close()
    validate(backend.heard)


async def begun(host: Host, board: ReadingsBoard, backend: Listener) -> None:
    """The board is there, and its first reading was heard."""
    await connected(host)
    await board.connect(host.tcp[0].address)
    board.begin()
    board.measure()
    await heard_all(backend, board)


def test_each_reading_is_published_once_by_a_worker_or_by_the_host(place: Place, seen: list[Seen]) -> None:
    async def scene() -> None:
        backend = await listener(place)
        board = place.board()
        async with place.host(by_workers=False) as host:
            await connected(host)
            board.begin()
            board.measure(3)
            await board.connect(host.tcp[0].address)
            await heard_all(backend, board)
            await passed(host, progress.CURSOR)
            board.unplug()
        async with place.host() as host, place.worker():
            await connected(host)
            await board.connect(host.tcp[0].address)
            before = len(backend.of("telemetry"))
            for _ in range(20):
                board.measure(2)
            await heard_all(backend, board)
            await until(lambda: [worker.published for worker in seen] == [20], "the worker has published them")
            assert seen[0].left == 0
            old = board.measure(3, age_ms=HOUR_MS)
            waiting = board.measure_without_clock(2, 5_000)
            board.put(messages.BLOB, 7, None, b"\x00\x01")
            await until(lambda: [f["seq"] for f in backend.of("backfill")] == [old], "what is late")
            await until(lambda: seen[0].left == 2, "what waits is left")
            await taken_over(host)
            board.put(messages.ANCHOR, 65_000, utc_ms(), 20, 2)
            last = board.measure()
            await heard_all(backend, board)
            await until(lambda: backend.of("latest")[-1]["channels"]["pellets"]["seq"] == last, "the newest values")
            board.unplug()
        finished(backend)
        assert [form["seq"] for form in backend.of("backfill")] == [old, waiting]
        assert len(backend.of("telemetry")) == before + 21
        assert len(backend.readings()) == len(board.rows), "nothing came twice"
        kinds = [form["kind"] for form in backend.of("event")]
        assert kinds.count("boot") == kinds.count("unread-record") == 1, "events are the host's"

    asyncio.run(scene())


def test_while_the_broker_is_away_the_stream_runs_empty_and_the_host_publishes_later(
    place: Place, seen: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the store's workers, who have the same stream, would wait for the broker."""
    monkeypatch.setattr(topics_workers, "AWAY_S", 0.5)

    async def scene() -> None:
        backend = await listener(place)
        cable = Cable(place.broker.port)
        place.port = await cable.open()
        board = place.board()
        async with place.host() as host, place.worker():
            await begun(host, board, backend)
            cable.plugged = False
            cable.cut()
            await until(lambda: host.topics and not host.topics.connected, "the broker is missed")
            for _ in range(30):
                board.measure()
            await board.drained()
            await until(lambda: seen[0].left == 30, "the worker leaves them")
            await passed(host, progress.DISTRIBUTED)
            cable.plugged = True
            await heard_all(backend, board)
            await publishes_again(seen[0], host, board)
            await heard_all(backend, board)
            board.unplug()
        await cable.close()
        finished(backend)
        assert len(backend.of("telemetry")) >= 2 and len(backend.of("backfill")) >= 30

    asyncio.run(scene())


async def passed(host: Host, cursor: str) -> None:
    """It has come to what is the end now."""
    newest = await host.journal.read(lambda db: db.execute("SELECT max(id) FROM records").fetchone()[0])
    async with asyncio.timeout(60):
        while await host.journal.read(partial(catalog.position, reader=cursor)) < newest:  # noqa: ASYNC110 - in a table
            await asyncio.sleep(0.05)


async def taken_over(host: Host) -> None:
    """The host has taken over, and written down, what workers left."""
    async with asyncio.timeout(60):
        while await host.journal.read(progress.left):  # noqa: ASYNC110 - in a table
            await asyncio.sleep(0.05)


async def measuring_until(done: Callable[[], bool], host: Host, board: ReadingsBoard) -> None:
    async with asyncio.timeout(60):
        while not done():
            board.measure()
            await board.drained()
            await passed(host, progress.DISTRIBUTED)


async def publishes_again(worker: TopicsWorker, host: Host, board: ReadingsBoard) -> None:
    """It finds out by itself that its broker is back."""
    before = worker.published
    await measuring_until(lambda: worker.published > before, host, board)


def test_a_broker_that_acknowledges_nothing_is_not_waited_for(
    place: Place, seen: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes every connection, so it never looks away."""
    monkeypatch.setattr(topics_workers, "AWAY_S", 0.5)
    monkeypatch.setattr(outbox, "ANSWER_S", 1.0)

    async def scene() -> None:
        backend = await listener(place)
        cable = Cable(place.broker.port)
        board = place.board()
        async with place.host() as host:
            place.port = await cable.open()
            async with place.worker():
                await begun(host, board, backend)
                cable.mute = True
                for _ in range(30):
                    board.measure()
                await board.drained()
                await passed(host, progress.DISTRIBUTED)
                await until(lambda: len(backend.readings("backfill")) >= 20, "the host publishes them")
                cable.mute = False
                await publishes_again(seen[0], host, board)
                cable.plugged = False
                cable.cut()
                await until(lambda: not seen[0].connected, "it is missed")
                before = seen[0].left
                await measuring_until(lambda: seen[0].left > before, host, board)
                cable.plugged = True
                await publishes_again(seen[0], host, board)
                await heard_all(backend, board)
                board.unplug()
        await cable.close()
        finished(backend)

    asyncio.run(scene())


def test_workers_wait_until_the_host_has_published_what_came_before(place: Place, seen: list[Seen]) -> None:
    """Else a device's readings would come out of order."""

    async def scene() -> None:
        backend = await listener(place)
        cable = Cable(place.broker.port)
        place.port = await cable.open()
        cable.plugged = False
        board = place.board()
        async with place.host(by_workers=False, mqtt=False) as host:
            await board.connect(host.tcp[0].address)
            board.begin()
            for _ in range(10):
                board.measure()
            await board.drained()
            board.unplug()
        async with place.host() as host:
            place.port = place.broker.port
            async with place.worker():
                await board.connect(host.tcp[0].address)
                for _ in range(10):
                    board.measure()
                await until(lambda: seen and seen[0].connected and seen[0].put_off >= 2, "the worker waits")
                cable.plugged = True
                await heard_all(backend, board)
                board.unplug()
        came = rows(place.journal.url, f"SELECT seq FROM journal_records WHERE type = {messages.SINGLE} ORDER BY id")
        await cable.close()
        finished(backend)
        assert len(came) == 20 and [(form["seq"],) for form in backend.of("telemetry")] == came

    asyncio.run(scene())


def test_what_workers_leave_while_the_backlog_is_read_is_not_taken_for_theirs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host sees for itself that readings are old, and hears from the worker that it has left them, in between."""
    look, looking = Reader.live, threading.Event()
    left = "SELECT id FROM topics_left"

    def slowly(self: Reader, db: Database, after: int, now_ms: int) -> Batch:
        looking.set()
        ends = time.monotonic() + 45
        while not rows(place.journal.url, left):
            assert time.monotonic() < ends, "the worker has left nothing"
            time.sleep(0.01)
        time.sleep(5 * publisher.SAVE_S)  # what is read next is what was left, and then the backlog
        monkeypatch.setattr(Reader, "live", look)
        return look(self, db, after, now_ms)

    async def scene() -> None:
        backend = await listener(place)
        place.live_within = "1s"
        cable = Cable(place.broker.port)
        place.port = await cable.open()
        cable.plugged = False
        board = place.board()
        async with place.host() as host:
            await until(lambda: host.topics, "it leads")
            await board.connect(host.tcp[0].address)
            board.begin()
            board.measure()
            await board.drained()
            await until(lambda: host.distributor and host.distributor.sent, "it is in the stream")
            came_ms = utc_ms()
            await until(lambda: utc_ms() > came_ms + 1_000, "it is old")
            monkeypatch.setattr(Reader, "live", slowly)
            cable.plugged = True
            await until(looking.is_set, "the host looks")
            place.port = place.broker.port
            async with place.worker():
                await heard_all(backend, board)
                board.unplug()
        await cable.close()
        finished(backend)

    asyncio.run(scene())


def test_what_was_distributed_to_others_only_is_published_later(place: Place) -> None:
    """While the host that led had no broker in its settings, and no such group."""

    async def scene() -> None:
        backend = await listener(place)
        board = place.board()
        async with place.host() as host, place.worker():
            await begun(host, board, backend)
            board.unplug()
        async with place.host(by_workers=False, mqtt=False) as host, place.other_worker():
            await board.connect(host.tcp[0].address)
            for _ in range(5):  # each in a batch of its own, that leaves the stream
                board.measure()
                await board.drained()
                await passed(host, progress.DISTRIBUTED)
            board.unplug()
        assert len(backend.readings()) == 1
        async with place.host() as host, place.worker():
            await heard_all(backend, board)
            await board.connect(host.tcp[0].address)
            board.measure()
            await heard_all(backend, board)
            board.unplug()
        finished(backend)

    asyncio.run(scene())


def test_when_the_host_publishes_again_it_begins_where_workers_are_known_to_be_done(place: Place) -> None:
    async def scene() -> None:
        backend = await listener(place)
        board = place.board()
        async with place.host() as host, place.worker():
            await begun(host, board, backend)
            board.unplug()
        async with place.host() as host:  # without workers: it waits in the stream
            await connected(host)
            await board.connect(host.tcp[0].address)
            for _ in range(10):
                board.measure()
            await board.drained()
            await passed(host, progress.CURSOR)
            board.unplug()
        assert len(backend.readings()) == 1
        async with place.host(by_workers=False) as host:
            await connected(host)
            await heard_all(backend, board)
            await passed(host, progress.CURSOR)
        async with place.host() as host, place.worker():  # which has old batches in its stream
            await connected(host)
            await board.connect(host.tcp[0].address)
            board.measure()
            await heard_all(backend, board)
            board.unplug()
        backend.close()
        twice = len(backend.readings()) - len(board.rows)
        assert 0 <= twice <= 1, "the one whose batch was done, and not yet known to be"

    asyncio.run(scene())


class Book:
    """What hosts and workers write into a journal about their progress."""

    def __init__(self, journal: PostgresJournal) -> None:
        self.journal = journal

    async def records(self, first: int, last: int) -> None:
        sql = "INSERT INTO journal_records(stream, seq, type, received_ms, record) VALUES(7, ?, 1, 1, ?)"
        found = [(seq, b"\x90") for seq in range(first, last + 1)]
        await self.journal.write(lambda db: db.executemany(sql, found))

    async def begin(self, whose: bytes, by_workers: bool = True) -> progress.Progress:
        return await self.journal.write(lambda db: progress.begin(db, whose, by_workers, 1))

    async def write_down(self, whose: bytes, now: progress.Progress, *taken_over: int) -> None:
        await self.journal.write(lambda db: progress.save(db, whose, now, [], taken_over, 1))

    async def purge(self) -> int:
        """-> how many went."""
        return await self.journal.write(lambda db: purge_step(db, 2, ()))


@asynccontextmanager
async def book(address: Address) -> AsyncIterator[Book]:
    journal = PostgresJournal(address)
    await journal.start(1)
    try:
        yield Book(journal)
    finally:
        await journal.close()


def test_what_was_left_stays_in_the_journal_until_a_host_has_written_it_down(postgres: Postgres) -> None:
    address = postgres.database()

    async def scene() -> None:
        async with book(address) as found:
            await found.records(1, 10)
            await found.journal.write(lambda db: db.execute("INSERT INTO cursors VALUES('topics', 10, 1)"))
            ids = RangeSet()
            ids.add_range(5, 6)
            await found.journal.write(lambda db: progress.leave(db, ids))
            assert await found.purge() == 4
            at = await found.begin(b"one")
            assert at.handed == 10
            [(number, left)] = (await found.journal.read(progress.left)).items()
            assert left.ranges() == [(5, 6)]
            await found.begin(b"two")
            with pytest.raises(JournalError, match="another host"):  # which may have begun without what is left
                await found.write_down(b"one", at._replace(live=10), number)
            assert list(await found.journal.read(progress.left)) == [number]
            await found.begin(b"one")
            await found.write_down(b"one", at._replace(live=10, late=left, left=left), number)
            assert await found.journal.read(progress.left) == {}
            assert await found.purge() == 0, "it waits in the backlog"
            await found.write_down(b"one", at._replace(live=10))
            assert await found.purge() == 6

    asyncio.run(scene())


def test_what_workers_are_not_known_to_be_done_with_stays_until_it_is_published(postgres: Postgres) -> None:
    address = postgres.database()

    async def scene() -> None:
        async with book(address) as found:
            await found.records(1, 10)
            at = await found.begin(b"one")
            await found.records(11, 14)
            await found.write_down(b"one", at._replace(live=14))
            assert await found.purge() == 10
            at = await found.begin(b"two", by_workers=False)
            assert at.live == 10 and await found.purge() == 0
            await found.write_down(b"two", at._replace(live=14))
            assert await found.purge() == 4

    asyncio.run(scene())
