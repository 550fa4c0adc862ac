"""`meuse work` in the foreground: what each group does, put together, until a signal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from meuse import foreground, postgres
from meuse.clock import Clock
from meuse.cluster import stream
from meuse.cluster.worker import Effect, Worker
from meuse.errors import ConfigError
from meuse.postgres import Address
from meuse.settings import Settings
from meuse.store.connection import StoreError
from meuse.store.writer import Store

# Connections of one worker to the store: while one waits for its commit the other decodes.
STORES = 2

# How often what waits for a schema or a clock is looked through without a reason.
SWEEP_S = 60.0


def run(group: str, found: Settings, seconds: float | None) -> int:
    """Work until told to stop; 0. What is under way is then finished, or left to another worker."""
    if not found.cluster.servers:
        raise ConfigError("cluster.servers names no server", "list the cluster's NATS servers in meuse.toml")
    if not found.store.url:
        raise ConfigError("store.url is missing", "name the PostgreSQL server in meuse.toml")
    stream.driver()
    postgres.errors()  # says what is missing
    foreground.log_to_stderr(found.host.log)
    return asyncio.run(_run(group, found, seconds))


async def _run(group: str, found: Settings, seconds: float | None) -> int:
    cluster = found.cluster
    layout = stream.Layout(cluster.name, cluster.partitions, cluster.replicas, cluster.max_bytes)
    servers = stream.addresses(cluster)
    stop = foreground.stop_signals()
    async with storing(Address(found.store.url, found.store.password_file, found.store.ca, "store")) as effect:
        working = asyncio.create_task(Worker(group, servers, layout, effect).run())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopped):
            task.cancel()
        for ended in await asyncio.gather(working, stopped, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
    return 0


@asynccontextmanager
async def storing(where: Address) -> AsyncIterator[Effect]:
    """The effect of the group `store`: rows in PostgreSQL."""
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

    sweeping = asyncio.create_task(sweep())
    try:
        yield lambda found: use(lambda store: store.write(found))
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        for _ in stores:  # each when what it has under way is over
            await asyncio.get_running_loop().run_in_executor(threads, (await free.get()).close)
        threads.shutdown()
