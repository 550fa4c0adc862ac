"""The stream and its consumers as they must be, and the connection to the cluster; everything that is said to NATS.

Nothing is ever dropped by the stream: without an age, and full, it takes no more (`discard` new), which holds the
distributor's cursor. Each group of workers has one durable consumer per partition with one unacknowledged batch at
most, so a partition is worked on by one worker at a time and in order, whoever asks for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from meuse.errors import ConfigError
from meuse.secret_file import read_password
from meuse.settings import ClusterSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

STORE: Final = "store"
TOPICS: Final = "topics"
GROUPS: Final = (STORE, TOPICS)

# Who has not acknowledged a batch, nor said that it works on it, for so long is taken for dead.
ACK_WAIT_S: Final = 5.0

# What is asked while a new leader is elected, 4 to 12 s, is never answered, so it is asked again soon. An answer that
# comes too late does no harm: the next look says what the stream has.
ANSWER_S: Final = 2.0

# Between two PINGs to the server; two without an answer and another one is tried.
PING_S: Final = 2
CONNECT_S: Final = 2
RECONNECT_S: Final = 0.25
CLOSE_S: Final = 5.0
TRIES: Final = 20

# Second net only: what exactly once rests on are expected sequences in the stream and unique keys in the store.
DUPLICATES_S: Final = 120.0


class Layout(NamedTuple):
    """`name`: of the stream, and the first word of its subjects."""

    name: str
    partitions: int
    replicas: int
    max_bytes: int

    def subject(self, journal: str, partition: int | str) -> str:
        """Of one journal's records; `*` stands for any."""
        return f"{self.name}.batches.{journal}.{partition}"


class Group(NamedTuple):
    """Workers of whom one gets each batch, be it of any journal or of this one."""

    name: str
    journal: str = "*"

    def durable(self, partition: int) -> str:
        """Name of its consumer of a partition."""
        return f"{self.name}-{partition}" if self.journal == "*" else f"{self.name}-{self.journal}-{partition}"


def group_of(name: str, journal: str) -> Group:
    """The store takes from everybody; what is published has its place in a journal, which its workers read."""
    return Group(name, journal) if name == TOPICS else Group(name)


def driver() -> None:
    """Raises ConfigError where the client is not installed."""
    import importlib.util

    if importlib.util.find_spec("nats") is None:
        raise ConfigError("cluster.servers needs a client for NATS", "pip install 'meuse[cluster]'")


def addresses(cluster: ClusterSettings) -> list[str]:
    """Of the servers, with the password where a user is named; raises ConfigError."""
    if not cluster.password_file:
        return list(cluster.servers)
    password = quote(read_password(cluster.password_file, "cluster.password_file"), safe="")
    return [server.replace("@", f":{password}@", 1) for server in cluster.servers]


def go_on() -> None:
    """Raises CancelledError in a task that is to end, and may not know.

    The client waits with asyncio.wait_for, which before Python 3.12 returns a result that comes together with a
    cancellation, and forgets the cancellation.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """All of them, until one raises, or this is cancelled; then none is left."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        # Not by gather, which when cancelled waits for those that have forgotten it.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end(tasks)


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until they have ended: one cancellation may be forgotten, see `go_on`."""
    for _ in range(TRIES):
        waiting = [task for task in tasks if not task.done()]
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=1.0)


async def close(client: "Client") -> None:
    """Also one that is without any server, whose goodbye nobody takes."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await client.close()


async def connect(servers: list[str], name: str) -> "Client":
    """A connection that finds another server whenever its own is gone; waits until there is one."""
    import nats

    said = False
    client: Client | None = None

    async def lost() -> None:
        nonlocal said
        if not said and client is not None and not client.is_closed:
            said = True
            log.warning("cluster: connection lost; trying its servers in turn")

    async def again() -> None:
        nonlocal said
        if said:
            said = False
            log.warning("cluster: connected again")

    client = await nats.connect(
        servers,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_S,
        connect_timeout=CONNECT_S,
        ping_interval=PING_S,
        max_outstanding_pings=2,
        allow_reconnect=True,
        error_cb=_quiet,
        disconnected_cb=lost,
        reconnected_cb=again,
    )
    return client


async def make(js: "JetStreamContext", layout: Layout, groups: Sequence[Group]) -> None:
    """The stream and these groups' consumers, where they are not there yet; raises what NATS raises."""
    from nats.js import api

    wanted = api.StreamConfig(
        name=layout.name,
        subjects=[f"{layout.name}.batches.*.*"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        num_replicas=layout.replicas,
        max_bytes=layout.max_bytes,
        duplicate_window=DUPLICATES_S,
    )
    await _there(lambda: js.stream_info(layout.name), lambda: js.add_stream(wanted))
    for group in groups:
        for partition in range(layout.partitions):
            await _consumer(js, layout, group, partition)


async def _consumer(js: "JetStreamContext", layout: Layout, group: Group, partition: int) -> None:
    from nats.js import api

    name = group.durable(partition)
    wanted = api.ConsumerConfig(
        durable_name=name,
        filter_subject=layout.subject(group.journal, partition),
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=1,
        max_deliver=-1,
        num_replicas=layout.replicas,
    )
    await _there(lambda: js.consumer_info(layout.name, name), lambda: js.add_consumer(layout.name, wanted))


async def _there(look: Callable[[], Awaitable[Any]], add: Callable[[], Awaitable[Any]]) -> None:
    from nats.js.errors import NotFoundError

    try:
        await look()
    except NotFoundError:
        await add()


async def _quiet(error: Exception) -> None:
    log.debug("cluster: %r", error)
