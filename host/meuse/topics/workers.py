"""What the group of workers `topics` does with a batch: what is live goes to the broker, the rest is left to the host.

Of readings only; events, states and the newest values are the host's, and so is whatever is late, cannot be read yet,
or comes while the broker is away (progress.py). An order that holds: a device's batches are worked on one after the
other, and each is acknowledged when the broker has all its messages; none before the host has published what came
before workers did. A batch may come twice, and its messages then too.
"""

import asyncio
import logging
import ssl
import time
from functools import partial
from typing import Final

from meuse_protocol.received import RangeSet

from meuse.clock import Clock
from meuse.decode import Stored
from meuse.delivery import Delivery
from meuse.errors import HostError, LaterError
from meuse.journal.threads import Journal
from meuse.links.steady import Steady
from meuse.settings import BrokerAddress
from meuse.topics import progress
from meuse.topics.outbox import IDLE_S, Outbox
from meuse.topics.reader import READINGS, Message, Reader, Taken

log = logging.getLogger(__name__)

# What nothing can be delivered for longer than this is left to the host: batches for the store come the same way. From
# then on one delivery at a time finds out whether the broker is back, so long after the last that did not.
AWAY_S: Final = 30.0

# One delivery, half a megabyte and a message at most, may take so long, be the broker as slow as it is.
DELIVER_S: Final = 60.0

# Where the host stands is looked up so often: while it is behind, and later.
BEHIND_S: Final = 0.5
HANDED_S: Final = 10.0


class TopicsWorker:
    """`run()` as a task keeps the broker; `publish` is the effect. `reader`: of the journal, for nobody else."""

    def __init__(
        self, journal: Journal, reader: Reader, clock: Clock, broker: BrokerAddress, secure: ssl.SSLContext | None
    ) -> None:
        self._journal = journal
        self._reader = reader
        self._clock = clock
        self._broker = broker
        self._secure = secure
        self._steady = Steady(f"topics: broker {broker.host}:{broker.port}", log)
        self._outbox: Outbox | None = None
        self._failing_since: float | None = None  # the beginning of the first delivery that failed
        self._next_try = 0.0  # once it has failed for long
        self._trying = 0  # deliveries under way
        self._handed, self._host_there, self._looked_at = progress.NEVER, False, 0.0
        self.published = 0  # messages that the broker acknowledged
        self.left = 0  # records that the host publishes

    @property
    def connected(self) -> bool:
        return self._outbox is not None

    async def run(self) -> None:
        """Until cancelled. Trouble with the broker is told and tried again, never raised."""
        await self._steady.run(self._serve)

    async def publish(self, found: Delivery) -> None:
        """One batch. Returns when the broker, or the host that leads, has all of it; HostError when it has to wait."""
        await self._look_up_handed()
        left = [one for one in found.records if one.type in READINGS and one.id > self._handed]
        await self._journal.between_reads(partial(self._reader.learn_from, found))
        learnt = False
        while left:
            taken = await self._take(left)
            if not learnt and any(_rests_on_others(one) for one in taken):
                await self._journal.read(self._reader.learn)
                learnt = True
                continue
            for_host = await self._send(taken)
            if for_host.last():
                await self._journal.write(partial(progress.leave, ids=for_host))
                self.left += sum(last - first + 1 for first, last in for_host.ranges())
            left = left[len(taken) :]

    async def _look_up_handed(self) -> None:
        """Now and then: with a number that is too old something may come twice, and nothing is left out."""
        now = time.monotonic()
        if now - self._looked_at < (HANDED_S if self._host_there else BEHIND_S) and self._handed != progress.NEVER:
            return
        self._handed, self._host_there = await self._journal.read(progress.handed)
        self._looked_at = now
        if self._handed == progress.NEVER:
            raise HostError("no host has said from which record on workers publish", "start one with this meuse.toml")

    async def _take(self, records: list[Stored]) -> list[Taken]:
        now_ms = self._clock.utc_ms()
        return await self._journal.between_reads(partial(self._reader.delivered, records, now_ms))

    async def _send(self, taken: list[Taken]) -> RangeSet:
        """-> what the host has to publish; LaterError while it may still be delivered from here."""
        for_host = RangeSet()
        messages = [message for one in taken for message in one.messages]
        why = await self._deliver(messages) if messages else ""
        if why and not self._given_up():
            raise LaterError(why)
        for one in taken:
            if one.late or one.waits or (why and one.messages):
                for_host.add(one.id)
        return for_host

    async def _deliver(self, messages: list[Message]) -> str:
        """-> why the broker has not all of them; empty when it has."""
        began = time.monotonic()
        why = self._hindrance()
        if not why and self._outbox is not None:
            why = await self._try(self._outbox, messages)
        if why:
            self._failing_since = self._failing_since or began
        else:
            self._failing_since = None
            self.published += len(messages)
        return why

    async def _try(self, outbox: Outbox, messages: list[Message]) -> str:
        self._trying += 1
        try:
            async with asyncio.timeout(DELIVER_S):
                await outbox.deliver(messages)
            return ""
        except OSError as error:
            self._next_try = time.monotonic() + AWAY_S
            return f"the broker: {str(error) or 'it takes too long'}"
        finally:
            self._trying -= 1

    def _hindrance(self) -> str:
        """Why a delivery need not be tried."""
        if not self._host_there:
            return "the host publishes what came before"
        if self._outbox is None:
            return "the broker is away"
        if self._given_up() and (self._trying or time.monotonic() < self._next_try):
            return "the broker did not take the last ones"
        return ""

    def _given_up(self) -> bool:
        return self._failing_since is not None and time.monotonic() - self._failing_since > AWAY_S

    async def _serve(self) -> str:
        """One connection, from its beginning to its end -> why it ended."""
        wake = asyncio.Event()
        outbox = Outbox(self._broker, self._secure, None, wake)
        try:
            await outbox.open()
            self._outbox = outbox
            self._steady.connected()
            while not outbox.lost.done():
                wake.clear()
                await outbox.wait(IDLE_S)
            return outbox.lost.result()
        except OSError as error:
            return error.strerror or str(error)
        finally:
            self._outbox = None
            outbox.close()


def _rests_on_others(one: Taken) -> bool:
    """It lacks something, or was dated by what its board said elsewhere, perhaps in a batch of another worker."""
    return one.waits or (one.readings is not None and one.readings[0].boot is not None)
