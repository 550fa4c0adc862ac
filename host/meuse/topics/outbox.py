"""Messages on their way to the broker over one connection: QoS 1, so many at a time, each told of once it is there."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from meuse.links.broker import BrokerConnection, Keeping, Publishing, Will
from meuse.settings import BrokerAddress
from meuse.topics.reader import Message

# Messages on their way to the broker: enough to hide its answer behind the next ones.
WINDOW: Final = 100

# Messages handed over before the event loop may do something else: 1 to 2 ms.
BURST: Final = 16

# How long nothing may happen before one looks again.
IDLE_S: Final = 1.0

# A broker that acknowledges nothing for so long is given up, and tried anew.
ANSWER_S: Final = 30.0

# Called once the broker has the message.
Done = Callable[[], None]


class _Sent(NamedTuple):
    at: float
    done: Done


class Outbox:
    """Used once: `await open()`, then publish until `lost` says why the connection has ended.

    `wake` is set whenever something has come or gone: a PUBACK, room to write, the end.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        secure: ssl.SSLContext | None,
        will: Will | None,
        wake: asyncio.Event,
        keeping: Keeping | None = None,
    ) -> None:
        self._wake = wake
        self._burst = 0
        self._sent: dict[int, _Sent] = {}
        publishing = Publishing(self._acknowledged, WINDOW, will)
        self.connection = BrokerConnection(broker, secure, _ignore, wake.set, publishing, keeping)
        self.lost = self.connection.lost
        self.lost.add_done_callback(lambda _: wake.set())

    async def open(self, topic: str = "") -> None:
        """Connect and subscribe, if there is a topic; raises OSError that says why not."""
        await self.connection.open(topic)

    async def publish(self, message: Message, retain: bool, done: Done) -> None:
        """As soon as there is room; OSError when the connection is gone, or the broker owes an answer for too long."""
        if self._burst >= BURST:  # boards come first
            self._burst = 0
            await asyncio.sleep(0)
        while len(self._sent) >= WINDOW or not self.connection.writable:
            if self.lost.done():
                raise OSError(self.lost.result())
            self._wake.clear()
            await self.wait(IDLE_S)
        self._burst += 1
        number = self.connection.publish(message.topic, message.payload, qos=1, retain=retain)
        self._sent[number] = _Sent(time.monotonic(), done)

    async def deliver(self, messages: list[Message]) -> None:
        """All of these, not retained; returns when the broker has them. OSError when it may not have."""
        owed = len(messages)

        def there() -> None:
            nonlocal owed
            owed -= 1

        for message in messages:
            await self.publish(message, False, there)
        while owed:
            if self.lost.done():
                raise OSError(self.lost.result())
            self._wake.clear()
            await self.wait(IDLE_S)

    async def wait(self, seconds: float) -> None:
        """Until something happens, or so long; OSError when the broker owes an answer for too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        oldest = next(iter(self._sent.values()), None)
        if oldest is not None and time.monotonic() - oldest.at > ANSWER_S:
            raise OSError("the broker acknowledges nothing")

    def close(self, last: Message | None = None) -> None:
        """Say goodbye, with a last retained word if it can still be said; nothing is told any more."""
        self._sent.clear()
        if last is not None and self.connection.writable:
            self.connection.publish(*last, qos=1, retain=True)
        self.connection.close()

    def _acknowledged(self, number: int) -> None:
        """A PUBACK came."""
        sent = self._sent.pop(number, None)
        if sent is not None:
            sent.done()
            self._wake.set()


def _ignore(topic: str, payload: bytes) -> None:
    """Nothing is subscribed to, or it goes to `keeping`."""
