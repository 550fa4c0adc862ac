"""A worker of a group: takes batches off the stream, one of a partition at a time; acknowledges what has its effect.

Killed at any point it leaves a batch unacknowledged, which another worker gets after ACK_WAIT_S and which may have had
its effect already: so an effect must bear to come again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from meuse.cluster import batch, stream
from meuse.cluster.stream import Group, Layout
from meuse.delivery import Delivery
from meuse.errors import HostError, LaterError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

# A request for the next batch is made anew so often; a server that went away forgets requests.
ASK_S: Final = 2.0

# While a batch is worked on it is said so often that somebody does.
ALIVE_S: Final = stream.ACK_WAIT_S / 4

# After a failure another worker, or this one, gets the batch in 0.5, 1, 2 ... 8 s.
FIRST_S: Final = 0.5
LONGEST_S: Final = 8.0
PAUSE_S: Final = 0.5

# Returns when the effect is durable; may be called again with the same batch. Raises HostError when it has to wait.
Effect = Callable[[Delivery], Awaitable[object]]


class Worker:
    """Run `run()` until it is cancelled."""

    def __init__(self, group: Group, servers: list[str], layout: Layout, effect: Effect) -> None:
        self._group = group
        self._servers = servers
        self._layout = layout
        self._effect = effect
        self._failing: set[int] = set()  # partitions
        self.done = 0  # batches

    async def run(self) -> None:
        """Trouble with cluster or effect is told and tried again, never raised."""
        client = await stream.connect(self._servers, f"meuse worker {self._group.name}")
        try:
            log.info("%s: connected to the cluster", self._group.name)
            await self._made(client)
            await stream.together(*(self._partition(client, number) for number in range(self._layout.partitions)))
        finally:
            await stream.close(client)

    async def _made(self, client: "Client") -> None:
        """Until there are stream and consumers."""
        import nats.errors

        while True:
            stream.go_on()
            try:
                await stream.make(client.jetstream(timeout=stream.ANSWER_S), self._layout, [self._group])
                return
            except (nats.errors.Error, TimeoutError, OSError) as error:
                log.debug("cluster: %r", error)
                await asyncio.sleep(PAUSE_S)

    async def _partition(self, client: "Client", partition: int) -> None:
        """Batches of one partition, one after the other, for ever."""
        import nats.errors

        js = client.jetstream(timeout=stream.ANSWER_S)
        failures = 0
        while True:
            stream.go_on()
            try:
                failures = await self._work(js, partition, failures)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                log.debug("partition %d: %r", partition, error)
                await asyncio.sleep(PAUSE_S)
                await self._made(client)  # a cluster that lost everything has none

    async def _work(self, js: "JetStreamContext", partition: int, failures: int) -> int:
        """While the subscription holds."""
        import nats.errors

        name = self._group.durable(partition)
        asking = await js.pull_subscribe_bind(consumer=name, stream=self._layout.name)
        try:
            while True:
                stream.go_on()
                try:
                    messages = await asking.fetch(1, timeout=ASK_S)
                except nats.errors.TimeoutError:
                    await js.consumer_info(self._layout.name, name)  # raises when it is gone
                    continue
                for message in messages:
                    failures = 0 if await self._one(message, partition, failures) else failures + 1
        finally:
            with contextlib.suppress(Exception):  # with the connection it is gone already
                async with asyncio.timeout(stream.CLOSE_S):
                    await asking.unsubscribe()

    async def _one(self, message: "Msg", partition: int, failures: int) -> bool:
        """One batch; True when it had its effect and is acknowledged."""
        alive = asyncio.create_task(_keep(message))
        try:
            await self._effect(batch.decode(message.data))
        except (HostError, ValueError) as error:
            if not isinstance(error, LaterError):
                self._note(partition, str(error))
            await message.nak(delay=min(FIRST_S * 2 ** min(failures, 8), LONGEST_S))
            return False
        finally:
            alive.cancel()
        await message.ack_sync(timeout=stream.ACK_WAIT_S)
        self.done += 1
        self._note(partition, "")
        return True

    def _note(self, partition: int, trouble: str) -> None:
        """Said once for all partitions, when the first fails and when none does any more."""
        if trouble:
            if not self._failing:
                log.error("%s: %s; batches wait in the cluster meanwhile", self._group.name, trouble)
            self._failing.add(partition)
        elif partition in self._failing:
            self._failing.discard(partition)
            if not self._failing:
                log.warning("%s: working again", self._group.name)


async def _keep(message: "Msg") -> None:
    """Somebody works on it."""
    while True:
        await asyncio.sleep(ALIVE_S)
        with contextlib.suppress(Exception):  # without a server nobody can be told; another one may take over
            await message.in_progress()
