"""MQTT: boards behind a broker. Reads meuse-link/+/+/up, answers on the .../down of the topic a packet came from.

One session per topic. Who speaks there is what HELLO's MAC says, not what the topic says. Strangers may publish too:
sessions are bounded, the one that was silent longest makes way, and silent ones end. A PUBACK is the broker's; that a
record is stored is told by the session alone, so a broker that loses everything loses no reading.
"""

import asyncio
import logging
import random
import re
import ssl
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from meuse_protocol.messages import NEED, NEED_HELLO, record, splice

from meuse.config import BrokerAddress, MqttLinkSettings, parse_broker
from meuse.errors import ConfigError
from meuse.links import Opened, Receiver
from meuse.links.broker import REFUSES, BrokerConnection

log = logging.getLogger(__name__)

KIND = "mqtt"
TOPICS = "meuse-link/+/+/up"
TOPIC = re.compile(r"meuse-link/([a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31})/up")

# Needs no MAC (protocol/README.md, "MAC"): all that it brings about is a HELLO.
WHO_IS_THERE = splice(record(NEED, NEED_HELLO), 0)

# A board asks for the time every 15 minutes: after two of them missed it is not there.
IDLE_S = 2_000.0
SWEEP_EVERY_S = 60.0

# However a broker is away, it is said once.
AWAY = "away"

# Between two attempts: half to all of 0.5, 1, 2 ... 30 s.
FIRST_S = 0.5
LONGEST_S = 30.0


class MqttLink:
    """Subscribed at one broker for as long as it lives; `address` is for people, without a password."""

    def __init__(self, settings: MqttLinkSettings, opened: Opened, devices: Iterable[str]) -> None:
        self._broker = _with_password(parse_broker(settings.url, "mqtt_link.url"), settings)
        self._secure = _secure(settings) if self._broker.tls else None
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
        self._said = ""  # what is wrong with the broker, said once

    async def start(self) -> None:
        """Begin; a broker that is away is waited for."""
        self._keeping = asyncio.create_task(self._keep(), name=f"broker {self.address}")
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

    async def _keep(self) -> None:
        """Connected whenever that can be."""
        failures = 0
        while True:
            since = asyncio.get_running_loop().time()
            why = await self._serve()
            if asyncio.get_running_loop().time() - since > LONGEST_S:
                failures = 0
            pause_s = min(FIRST_S * 2**failures, LONGEST_S)
            failures = min(failures + 1, 16)
            state = why if why.startswith(REFUSES) else AWAY
            if self._said != state:
                self._said = state
                log.warning("broker %s: %s; trying again", self.address, why)
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    async def _serve(self) -> str:
        """One connection, from its beginning to its end -> why it ended."""
        self.attempts += 1
        connection = BrokerConnection(self._broker, self._secure, self._message, self._writable)
        try:
            await connection.open(TOPICS)
            self._connection = connection
            self._call()
            if self._said:
                log.warning("broker %s: connected again", self.address)
            else:
                log.info("broker %s: connected", self.address)
            self._said = ""
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


def _with_password(broker: BrokerAddress, settings: MqttLinkSettings) -> BrokerAddress:
    if not settings.password_file:
        return broker
    try:
        return broker._replace(password=Path(settings.password_file).read_text(encoding="utf-8").strip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot read mqtt_link.password_file {settings.password_file}: {why}", "one line, the password"
        ) from error


def _secure(settings: MqttLinkSettings) -> ssl.SSLContext:
    """Checks the broker by `ca`, or by what this system trusts; shows `cert` where there is one."""
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key or None)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(name for name in (settings.ca, settings.cert, settings.key) if name)
        raise ConfigError(f"mqtt_link: cannot use {files}: {error.strerror or error}", "name PEM files") from error
    return context
