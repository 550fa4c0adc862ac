"""What the group of workers `topics` does with a batch: what is live goes to the broker, the rest is left to the host.

Of readings only; events, states and the newest values are the host's, and so is whatever is late, cannot be read yet,
or comes while the broker is away (progress.py). An order that holds: a device's batches are worked on one after the
other, and each is acknowledged when the broker has all its messages. A batch may come twice, and its messages then too.
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
from meuse.topics.reader import READINGS, Reader, Taken

log = logging.getLogger(__name__)

# A broker that is away longer than this is not waited for: batches for the store come the same way.
AWAY_S: Final = 30.0

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
        self._away_since = time.monotonic()
        self._handed, self._looked_at = progress.NEVER, 0.0
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
            left = left[len(taken) :]

    async def _look_up_handed(self) -> None:
        """Now and then: with a number that is too old something may come twice, and nothing is left out."""
        now = time.monotonic()
        if self._handed != progress.NEVER and now - self._looked_at < HANDED_S:
            return
        self._handed, self._looked_at = await self._journal.read(progress.handed), now
        if self._handed == progress.NEVER:
            raise HostError("no host has said from which record on workers publish", "start one with this meuse.toml")

    async def _take(self, records: list[Stored]) -> list[Taken]:
        now_ms = self._clock.utc_ms()
        return await self._journal.between_reads(partial(self._reader.delivered, records, now_ms))

    async def _send(self, taken: list[Taken]) -> RangeSet:
        """-> what the host has to publish."""
        for_host = RangeSet()
        messages = [message for one in taken for message in one.messages]
        outbox = self._outbox
        given_up = outbox is None and time.monotonic() - self._away_since > AWAY_S
        for one in taken:
            if one.late or one.waits or (given_up and one.messages):
                for_host.add(one.id)
                self.left += 1
        if not messages or given_up:
            return for_host
        if outbox is None:
            raise LaterError("the broker is away")
        try:
            await outbox.deliver(messages)
        except OSError as error:
            raise LaterError(f"the broker: {error}") from error
        self.published += len(messages)
        return for_host

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
            if self._outbox is not None:
                self._away_since = time.monotonic()
            self._outbox = None
            outbox.close()


def _rests_on_others(one: Taken) -> bool:
    """It lacks something, or was dated by what its board said elsewhere, perhaps in a batch of another worker."""
    return one.waits or (one.readings is not None and one.readings[0].boot is not None)
