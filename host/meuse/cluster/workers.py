"""`meuse work` in the foreground: what each group does, put together, until a signal."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from meuse import foreground, postgres
from meuse.clock import Clock
from meuse.cluster import stream
from meuse.cluster.stream import Group
from meuse.cluster.worker import Effect, Worker
from meuse.config import parse_duration
from meuse.errors import ConfigError
from meuse.journal.place import place_of
from meuse.journal.shared import PostgresJournal
from meuse.lake.files import journal_id
from meuse.links import broker
from meuse.postgres import Address
from meuse.settings import Settings
from meuse.store.connection import StoreError
from meuse.store.writer import Store
from meuse.topics.reader import Reader
from meuse.topics.workers import TopicsWorker

# Connections of one worker to the store: while one waits for its commit the other decodes.
STORES = 2

# How often what waits for a schema or a clock is looked through without a reason.
SWEEP_S = 60.0


class Work(NamedTuple):
    """Of one group: what it does with a batch, and what runs beside until cancelled."""

    group: Group
    effect: Effect
    beside: Coroutine[Any, Any, None]


def run(name: str, found: Settings, seconds: float | None) -> int:
    """Work until told to stop; 0. What is under way is then finished, or left to another worker."""
    groups = found.cluster.groups
    if not found.cluster.servers:
        raise ConfigError("cluster.servers names no server", "list the cluster's NATS servers in meuse.toml")
    if name not in groups:
        advice = f"write groups = {json.dumps([*groups, name])} in [cluster], for the hosts too"
        raise ConfigError(f"nothing is distributed to the group {name}", advice)
    if name == stream.STORE and not found.store.url:
        raise ConfigError("store.url is missing", "name the PostgreSQL server in meuse.toml")
    stream.driver()
    postgres.errors()  # says what is missing
    foreground.log_to_stderr(found.host.log)
    return asyncio.run(_run(name, found, seconds))


async def _run(name: str, found: Settings, seconds: float | None) -> int:
    stop = foreground.stop_signals()
    working, stopped = asyncio.create_task(work(name, found)), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    for ended in await asyncio.gather(working, stopped, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    return 0


async def work(name: str, found: Settings) -> None:
    """As one worker of a group, until cancelled."""
    cluster = found.cluster
    layout = stream.Layout(cluster.name, cluster.partitions, cluster.replicas, cluster.max_bytes)
    servers = stream.addresses(cluster)
    async with storing(found) if name == stream.STORE else publishing(found) as (group, effect, beside):
        await stream.together(Worker(group, servers, layout, effect).run(), beside)


@asynccontextmanager
async def publishing(found: Settings) -> AsyncIterator[Work]:
    """The effect of the group `topics`: messages at a broker."""
    address = place_of(found).address
    assert address is not None, "config.py makes sure of it"
    to, clock = broker.address(found.mqtt, "mqtt"), Clock()
    secure = broker.secure(found.mqtt, "mqtt") if to.tls else None
    journal = PostgresJournal(address)
    await journal.start(clock.utc_ms())
    try:
        whose = await journal.read(journal_id)
        reader = Reader(whose, parse_duration(found.mqtt.live_within), found.mqtt.raw)
        worker = TopicsWorker(journal, reader, clock, to, secure)
        yield Work(stream.group_of(stream.TOPICS, whose), worker.publish, worker.run())
    finally:
        await journal.close()


@asynccontextmanager
async def storing(found: Settings) -> AsyncIterator[Work]:
    """The effect of the group `store`: rows in PostgreSQL."""
    where = Address(found.store.url, found.store.password_file, found.store.ca, "store")
    clock = Clock()
    free: asyncio.Queue[Store] = asyncio.Queue()
    stores = [Store(where, clock.utc_ms) for _ in range(STORES)]
    for store in stores:
        free.put_nowait(store)
    threads = ThreadPoolExecutor(STORES, "store")

    async def use(work: Callable[[Store], object]) -> None:
        store = await free.get()
        done = asyncio.get_running_loop().run_in_executor(threads, work, store)
        # Also when nobody waits for it any more: the store is free only then.
        done.add_done_callback(lambda _: free.put_nowait(store))
        await asyncio.shield(done)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            with contextlib.suppress(StoreError):  # told by whoever has a batch to write
                await use(Store.sweep)

    try:
        yield Work(stream.group_of(stream.STORE, ""), lambda part: use(lambda store: store.write(part)), sweep())
    finally:
        for _ in stores:  # each when what it has under way is over
            await asyncio.get_running_loop().run_in_executor(threads, (await free.get()).close)
        threads.shutdown()
