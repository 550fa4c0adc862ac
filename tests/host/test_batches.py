"""Batches over a real three-node JetStream cluster: nothing lost, in order per device, whoever is killed in between."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from meuse import catalog
from meuse.catalog import Origin
from meuse.cluster import batch, distributor
from meuse.cluster.distributor import Distributor
from meuse.cluster.stream import STORE, Group, Layout
from meuse.cluster.worker import Effect, Worker
from meuse.decode import Stored
from meuse.delivery import Delivery
from meuse.errors import HostError
from meuse.journal.batch import Batch, Binding, Row
from meuse.journal.database import FILE_NAME
from meuse.journal.sqlite import SqliteJournal
from meuse_protocol import messages

from tests.host.journals import NOON_MS
from tests.host.light_board import until
from tests.nats_cluster import Cluster

# A client whose server is killed leaves a writer behind, which complains when the loop is gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DEVICES = {0x80000001 + number: f"stove-{number}" for number in range(6)}
Named = tuple[int, int]  # stream, seq


class Fleet:
    """A journal and what boards have put into it."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.journal = journal
        self.stored: dict[int, int] = dict.fromkeys(DEVICES, 0)

    async def store(self, each: int, size: int = 30) -> None:
        """So many more records of every device, one transaction."""
        rows = []
        for _ in range(each):
            for stream in DEVICES:
                self.stored[stream] += 1
                seq = self.stored[stream]
                record = messages.record(messages.BLOB, seq, 1, None, bytes(size))
                rows.append(Row(stream, seq, messages.BLOB, NOON_MS, "tcp", record))
        await self.journal.commit(Batch(rows=rows))

    async def cursor(self) -> int:
        return await self.journal.read(lambda db: catalog.position(db, distributor.CURSOR))

    async def done(self) -> None:
        """Every batch is acknowledged by every group."""
        async with asyncio.timeout(60):
            while await self.cursor() < self.journal.last_id:  # noqa: ASYNC110 - another task moves it in the journal
                await asyncio.sleep(0.05)


class Seen:
    """What workers were handed, in the order in which it had its effect."""

    def __init__(self) -> None:
        self.records: list[Named] = []
        self.held = False

    async def effect(self, found: Delivery) -> None:
        if self.held:
            raise HostError("the test holds it")
        self.records += [(one.stream, one.seq) for one in found.records]
        for stream in {one.stream for one in found.records}:
            assert found.origins[stream] == Origin(DEVICES[stream], "default", "default")

    def assert_all_in_order(self, fleet: Fleet) -> None:
        """Each record, and the first time in the order of its stream."""
        first = list(dict.fromkeys(self.records))
        for stream, last in fleet.stored.items():
            assert [seq for one, seq in first if one == stream] == list(range(1, last + 1))


@asynccontextmanager
async def fleet_of(folder: Path) -> AsyncIterator[Fleet]:
    journal = await SqliteJournal.open(folder / FILE_NAME, NOON_MS)
    bindings = [Binding(stream, device, NOON_MS, 1) for stream, device in DEVICES.items()]
    await journal.commit(Batch(bindings=bindings))
    try:
        yield Fleet(journal)
    finally:
        await journal.close()


def layout(name: str, max_bytes: int = 1 << 26) -> Layout:
    return Layout(name, 3, 3, max_bytes)


@asynccontextmanager
async def distributing(fleet: Fleet, cluster: Cluster, where: Layout) -> AsyncIterator[Distributor]:
    one = Distributor(fleet.journal, cluster.urls, where, [STORE], lambda: NOON_MS, lambda trouble: None)
    async with at_work(one.run):
        yield one


@asynccontextmanager
async def working(cluster: Cluster, where: Layout, effect: Effect) -> AsyncIterator[Worker]:
    one = Worker(Group(STORE), cluster.urls, where, effect)
    async with at_work(one.run):
        yield one


@asynccontextmanager
async def at_work(run: Callable[[], object]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(run())  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=60)
        assert ended, "it does not end"
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> object:
    with Cluster(tmp_path_factory.mktemp("nats")) as found:
        yield found


def test_records_keep_their_order_while_servers_and_workers_go(tmp_path: Path, cluster: Cluster) -> None:
    """The leader of the stream, one that follows, and a worker in the middle of a batch."""
    where, seen = layout("order"), Seen()

    async def stuck(found: Delivery) -> None:
        """It began, and will never end."""
        began.set()
        await asyncio.Event().wait()

    async def scene() -> None:
        async with fleet_of(tmp_path) as fleet, distributing(fleet, cluster, where) as sender:
            async with working(cluster, where, stuck):
                await fleet.store(5)
                await asyncio.wait_for(began.wait(), 60)
            async with working(cluster, where, seen.effect), working(cluster, where, seen.effect):
                await fleet.done()  # what the dead worker had comes to these
                leader = cluster.leader(where.name)
                assert leader
                leader.kill()
                await fleet.store(5)
                await fleet.done()
                leader.start()
                await fleet.store(5)
                follower = next(each for each in cluster.servers if each is not cluster.leader(where.name))
                follower.kill()
                await fleet.store(5)
                await fleet.done()
                follower.start()
            seen.assert_all_in_order(fleet)
            assert sender.sent

    began = asyncio.Event()
    asyncio.run(scene())


def test_a_leader_that_falls_silent_is_replaced(tmp_path: Path, cluster: Cluster) -> None:
    """Its connections stay and carry nothing, as when the network is cut; afterwards it is back with what it held."""
    where, seen = layout("silent"), Seen()

    async def scene() -> None:
        async with fleet_of(tmp_path) as fleet, distributing(fleet, cluster, where):
            async with working(cluster, where, seen.effect):
                await fleet.store(3)
                await fleet.done()
                leader = cluster.leader(where.name)
                assert leader
                leader.pause()
                try:
                    await fleet.store(3)
                    await fleet.done()
                finally:
                    leader.go_on()
                await fleet.store(3)
                await fleet.done()
            seen.assert_all_in_order(fleet)

    asyncio.run(scene())


def test_a_full_stream_holds_the_cursor_and_loses_nothing(tmp_path: Path, cluster: Cluster) -> None:
    where, seen = layout("full", 1 << 20), Seen()

    async def scene() -> None:
        async with fleet_of(tmp_path) as fleet, distributing(fleet, cluster, where) as sender:
            for _ in range(6):
                await fleet.store(50, 1_000)  # 300 kB
            await until(lambda: "maximum bytes" in sender.trouble, "the stream is full")
            assert await fleet.cursor() == 0
            async with working(cluster, where, seen.effect):
                await fleet.done()
                await until(lambda: not sender.trouble, "there is room again")
            seen.assert_all_in_order(fleet)

    asyncio.run(scene())


def test_two_distributors_at_once_put_nothing_twice_into_the_stream(tmp_path: Path, cluster: Cluster) -> None:
    """As when one that was taken for dead comes back: what it says late is refused, whenever it says it."""
    where, seen = layout("twice"), Seen()

    async def scene() -> None:
        async with fleet_of(tmp_path) as fleet, distributing(fleet, cluster, where):
            async with distributing(fleet, cluster, where), working(cluster, where, seen.effect):
                for _ in range(6):
                    await fleet.store(2)  # wakes both at the same moment
                    await fleet.done()
            seen.assert_all_in_order(fleet)
            assert len(seen.records) == len(set(seen.records))

    asyncio.run(scene())


def test_a_cluster_that_loses_everything_gets_it_again(tmp_path: Path) -> None:
    """The journal's cursor is behind what workers have acknowledged, not behind what the stream has."""
    where, seen = layout("lost"), Seen()

    async def scene(cluster: Cluster) -> None:
        async with fleet_of(tmp_path / "data") as fleet, distributing(fleet, cluster, where) as sender:
            async with working(cluster, where, seen.effect):
                await fleet.store(3)
                await fleet.done()
                seen.held = True
                await fleet.store(3)
                await until(lambda: sender.sent >= 4, "the stream has it")
                for server in cluster.servers:
                    server.kill()
                    shutil.rmtree(server.folder / "store")
                seen.held = False
                for server in cluster.servers:
                    server.start()
                await fleet.done()
            seen.assert_all_in_order(fleet)

    (tmp_path / "data").mkdir()
    with Cluster(tmp_path / "nats") as cluster:
        asyncio.run(scene(cluster))


def test_batches_come_back_as_they_were() -> None:
    records = [Stored(7, 0x80000001, 3, 1, NOON_MS, b"\x93\x01\x03"), Stored(8, 5, 1, 4, NOON_MS, b"")]
    one = Delivery(records, {0x80000001: Origin("stove-1", "t", "s")})
    assert batch.decode(batch.encode(one)) == one
    for junk in (b"", b"\xc0", b"\x93\x02\x80\x90", batch.encode(one)[:-1]):
        with pytest.raises(ValueError):
            batch.decode(junk)


def test_a_device_is_always_in_one_partition_and_all_are_used() -> None:
    devices = [f"stove-{number}" for number in range(1_000)]
    counts = [0] * 8
    for device in devices:
        counts[batch.partition_of(device, 8)] += 1
    assert sum(counts) == 1_000 and min(counts) > 80
    assert batch.partition_of("stove-1", 8) == batch.partition_of("stove-1", 8)
