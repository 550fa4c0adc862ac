"""MQTT: boards behind a broker. Reads meuse-link/+/+/up, answers on the .../down of the topic a packet came from.

One session per topic. Who speaks there is what HELLO's MAC says, not what the topic says. Strangers may publish too:
sessions are bounded, the one that was silent longest makes way, and silent ones end. A PUBACK is the broker's; that a
record is stored is told by the session alone, so a broker that loses everything loses no reading.
"""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable

from meuse_protocol.messages import NEED, NEED_HELLO, record, splice

from meuse.config import MqttLinkSettings
from meuse.links import Opened, Receiver, broker
from meuse.links.broker import BrokerConnection
from meuse.links.steady import Steady

log = logging.getLogger(__name__)

KIND = "mqtt"
TOPICS = "meuse-link/+/+/up"
TOPIC = re.compile(r"meuse-link/([a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31})/up")

# Needs no MAC (protocol/README.md, "MAC"): all that it brings about is a HELLO.
WHO_IS_THERE = splice(record(NEED, NEED_HELLO), 0)

# A board asks for the time every 15 minutes: after two of them missed it is not there.
IDLE_S = 2_000.0
SWEEP_EVERY_S = 60.0


class MqttLink:
    """Subscribed at one broker for as long as it lives; `address` is for people, without a password."""

    def __init__(self, settings: MqttLinkSettings, opened: Opened, devices: Iterable[str]) -> None:
        self._broker = broker.address(settings, "mqtt_link")
        self._secure = broker.secure(settings, "mqtt_link") if self._broker.tls else None
        self._opened = opened
        self._max_devices = settings.max_devices
        self.address = f"{self._broker.host}:{self._broker.port}"
        self.topics: OrderedDict[str, _Topic] = OrderedDict()  # the one silent longest comes first
        self._called = {f"default/{device}" for device in devices}  # whom to call: these, and who was heard
        self.attempts = 0
        self.evicted = 0  # sessions that made way
        self.foreign = 0  # messages on topics no board has
        self._connection: BrokerConnection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._held: set[_Topic] = set()
        self._waiting: set[_Topic] = set()  # wanted to write
        self._stopping = False
        self._steady = Steady(f"broker {self.address}", log)

    async def start(self) -> None:
        """Begin; a broker that is away is waited for."""
        self._keeping = asyncio.create_task(self._steady.run(self._serve), name=f"broker {self.address}")
        self._sweep()

    def stop_listening(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        self._stopping = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    # -- the broker

    async def _serve(self) -> str:
        """One connection, from its beginning to its end -> why it ended."""
        self.attempts += 1
        connection = BrokerConnection(self._broker, self._secure, self._message, self._writable)
        try:
            await connection.open(TOPICS)
            self._connection = connection
            self._call()
            self._steady.connected()
            return await connection.lost
        except OSError as error:
            return error.strerror or str(error)
        finally:
            self._connection = None
            connection.close()
            for topic in list(self.topics.values()):
                self._drop(topic)

    def _call(self) -> None:
        """Ask who is there: a board that found nobody for long looks only every five minutes."""
        assert self._connection is not None
        for name in self._called:
            self._connection.publish(f"meuse-link/{name}/down", WHO_IS_THERE)

    def _message(self, name: str, payload: bytes) -> None:
        found = TOPIC.fullmatch(name)
        if found is None:
            self.foreign += 1
        elif not payload:  # a board's last will
            if found[1] in self.topics:
                self._drop(self.topics[found[1]])
        else:
            topic = self.topics.get(found[1]) or self._begin(found[1])
            if topic is not None and topic.receiver is not None:
                self.topics.move_to_end(topic.name)
                topic.heard = asyncio.get_running_loop().time()
                topic.receiver.receive(payload)

    def _writable(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for topic in waiting:
            if topic.receiver is not None:
                topic.receiver.writable()

    # -- sessions

    def _begin(self, name: str) -> "_Topic | None":
        if self._stopping:
            return None
        if len(self.topics) >= self._max_devices:
            self.evicted += 1
            self._drop(next(iter(self.topics.values())))
        if len(self._called) < self._max_devices:
            self._called.add(name)
        topic = self.topics[name] = _Topic(self, name)
        topic.receiver = self._opened(f"{KIND}:{self.address}/{name}", KIND, topic)
        return topic

    def _sweep(self) -> None:
        """End sessions of boards that are gone without a last will."""
        now = asyncio.get_running_loop().time()
        for topic in list(self.topics.values()):
            if now - topic.heard < IDLE_S:
                break
            self._drop(topic)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)

    def _drop(self, topic: "_Topic") -> None:
        if self.topics.get(topic.name) is topic:
            del self.topics[topic.name]
        self._waiting.discard(topic)
        self.hold(topic, False)
        receiver, topic.receiver = topic.receiver, None
        if receiver is not None:
            receiver.lost()

    # -- for the wires

    def writable(self, topic: "_Topic") -> bool:
        if self._connection is not None and self._connection.writable:
            return True
        self._waiting.add(topic)
        return False

    def publish(self, topic: "_Topic", data: bytes) -> None:
        if self._connection is not None:
            self._connection.publish(f"meuse-link/{topic.name}/down", data)

    def hold(self, topic: "_Topic", held: bool) -> None:
        """All share one connection: while one is held, nothing is read."""
        if held:
            self._held.add(topic)
        else:
            self._held.discard(topic)
        if self._connection is not None:
            self._connection.hold(bool(self._held))

    def close_later(self, topic: "_Topic") -> None:
        asyncio.get_running_loop().call_soon(self._drop, topic)


class _Topic:
    """A board's pair of topics: a Wire towards the session."""

    __slots__ = ("_link", "heard", "name", "receiver")

    packets = True

    def __init__(self, link: MqttLink, name: str) -> None:
        self._link = link
        self.name = name  # TENANT/DEVICE
        self.receiver: Receiver | None = None
        self.heard = asyncio.get_running_loop().time()

    @property
    def writable(self) -> bool:
        return self.receiver is not None and self._link.writable(self)

    def write(self, data: bytes) -> None:
        self._link.publish(self, data)

    def hold(self, held: bool) -> None:
        self._link.hold(self, held)

    def close(self) -> None:
        self._link.close_later(self)
