"""One connection to an MQTT 3.1.1 broker on the event loop: paho speaks the protocol, this moves its bytes.

paho itself, not aiomqtt around it: a Wire writes without waiting, which is a call of paho and a coroutine of aiomqtt,
and reading can stop while the host is full. To boards everything is QoS 0: what a broker loses, the stream sends
again. What is published for backends is QoS 1, and `acknowledged` tells of each. Knows no topic's meaning.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from meuse.config import parse_broker
from meuse.errors import ConfigError
from meuse.settings import BrokerAddress, BrokerSettings, MqttSettings, UpstreamSettings

KEEP_ALIVE_S = 60

# So begins the reason when it is the broker that does not want us.
REFUSES = "the broker refuses"

# So begins the reason when a message cannot be taken in.
TOO_LONG = "a message of more than"

# From the open socket to the granted subscription.
ANSWER_S = 15.0

# Nobody is subscribed to this; to end that is answered all the same.
NOTHING = "meuse/_host/nothing"

# Messages taken in one wake-up, and so at most after reading was to stop.
READ_TOGETHER = 16

# A packet of a board is 4 kB at most. paho would take in 256 MB: a connection that brings more than this is given up.
LONGEST_BYTES = 64 * 1024

# Of what the broker keeps for us a larger one is taken in and refused, since it would only come again; no broker that
# is sensibly set up lets more than this through.
LONGEST_KEPT_BYTES = 1024 * 1024 + LONGEST_BYTES


class Will(NamedTuple):
    """What the broker publishes, retained, when this connection ends without a goodbye."""

    topic: str
    payload: bytes


class Publishing(NamedTuple):
    """What a connection needs that publishes with QoS 1."""

    acknowledged: Callable[[int], None]
    """Called with what `publish` returned, once the broker has it."""
    window: int
    """Messages that may be on their way; publish no more than that."""
    will: Will | None


class Keeping(NamedTuple):
    """What a connection needs for which the broker keeps what it has not acknowledged, also while it is away."""

    message: Callable[[paho.MQTTMessage], None]
    """Called instead of `message`; whatever is not retained comes again until `acknowledge`."""
    clean: bool
    """Forget what was kept before."""


class BrokerConnection:
    """Used once: `open`, then `message(topic, payload)` for what comes, until `lost` tells why it has ended."""

    def __init__(
        self,
        address: BrokerAddress,
        secure: ssl.SSLContext | None,
        message: Callable[[str, bytes], None],
        written: Callable[[], None],
        publishing: Publishing | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._address = address
        self._keeping = keeping
        self._message = message
        self._written = written
        self._publishing = publishing
        self._loop = asyncio.get_running_loop()
        self._granted: asyncio.Future[str] = self._loop.create_future()
        self._arrived: list[paho.MQTTMessage] = []
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._topic = ""
        self._held = False
        self._closed = False
        self._writing = False
        self._watched = False
        self._tick: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id,
            clean_session=keeping is None or keeping.clean,
            reconnect_on_failure=False,
            manual_ack=keeping is not None,
        )
        if address.user:
            client.username_pw_set(address.user, address.password)
        if secure is not None:
            client.tls_set_context(secure)
        if publishing is not None:
            client.max_inflight_messages_set(publishing.window)
            if publishing.will is not None:
                client.will_set(publishing.will.topic, publishing.will.payload, qos=1, retain=True)
            client.on_publish = lambda client, userdata, mid, code, properties: publishing.acknowledged(mid)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_unsubscribe = self._unsubscribed
        client.on_message = lambda client, userdata, message: self._arrived.append(message)
        client.on_socket_close = lambda client, userdata, sock: self._unwatch(sock)

    # -- for the link

    async def open(self, topic: str = "") -> None:
        """Connect and subscribe, if there is a topic; raises OSError that says why not."""
        self._topic = topic
        await asyncio.to_thread(self._dial)
        sock = self._client.socket()
        if sock is None:
            raise OSError("the broker closed the connection")
        # Else the second of two small packets waits 40 ms for an answer to the first.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[attr-defined]
        self._watched = True
        self._loop.add_reader(sock, self._readable)
        self._beat()
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({self._granted, self.lost}, timeout=ANSWER_S, return_when=first)
        if self.lost.done():
            raise OSError(self.lost.result())
        if not self._granted.done():
            raise TimeoutError("the broker does not answer")

    @property
    def writable(self) -> bool:
        return not self._closed and not self._writing and self._client.is_connected()

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> int:
        """Only while `writable`; gives the number under which the broker acknowledges it."""
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        self._after()
        return info.mid

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """The broker need not keep it any longer."""
        if self._client.is_connected():
            self._client.ack(message.mid, message.qos)
            self._after()

    def ask_again(self) -> asyncio.Future[bool]:
        """Subscribe once more, which brings everything that is retained; true when it has come, false at the end.

        A broker does one thing after another, so the answer to what follows comes behind that. It may hold back QoS 1
        while as much as it allows is not acknowledged: that comes then, later.
        """
        come: asyncio.Future[bool] = self._loop.create_future()
        if self._closed or not self._client.is_connected():
            come.set_result(False)
            return come
        self._client.subscribe(self._topic, qos=1)
        _, number = self._client.unsubscribe(NOTHING)
        self._asked[number or 0] = come
        self._after()
        return come

    def hold(self, held: bool) -> None:
        """Stop or resume reading: what comes meanwhile stays in the kernel's buffer, then with the broker."""
        sock = self._client.socket()
        if self._held == held or sock is None:
            return
        self._held = held
        if held:
            self._loop.remove_reader(sock)
        else:
            self._loop.add_reader(sock, self._readable)
            self._loop.call_soon(self._readable)  # TLS may have taken something out of the kernel before

    def close(self) -> None:
        """Say goodbye if that goes at once; nothing is told any more."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        sock = self._client.socket()
        if sock is not None:
            self._client.disconnect()
        if sock is not None and self._client.socket() is not None:
            self._unwatch(sock)
            sock.close()
        self._end("closed")

    # -- inside

    def _dial(self) -> None:
        """In a thread: finding the address, connecting and TLS wait for the network."""
        self._client.connect(self._address.host, self._address.port, KEEP_ALIVE_S)
        if self._closed:
            self._client.disconnect()

    def _connected(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._end(f"{REFUSES}: {code}")
        elif not self._topic:
            self._granted.set_result("")
        else:
            client.subscribe(self._topic, qos=0 if self._keeping is None else 1)

    def _subscribed(
        self, client: paho.Client, userdata: object, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            self._end(f"{REFUSES} to let us read {self._topic}")
        elif not self._granted.done():
            self._granted.set_result("")

    def _unsubscribed(self, client: paho.Client, userdata: object, mid: int, *more: object) -> None:
        come = self._asked.pop(mid, None)
        if come is not None and not come.done():
            come.set_result(True)

    def _readable(self) -> None:
        if self._held or self._closed:
            return
        for _ in range(READ_TOGETHER):
            before = len(self._arrived)
            self._client.loop_read()
            if len(self._arrived) == before:
                break
        longest = LONGEST_BYTES if self._keeping is None else LONGEST_KEPT_BYTES
        if self._client._in_packet["to_process"] > longest:  # no setting for it in 3.1.1
            self._end(f"{TOO_LONG} {longest} bytes; give the broker a limit")
        arrived, self._arrived = self._arrived, []
        for message in arrived:
            if self._keeping is not None:
                self._keeping.message(message)
            elif not message.retain:  # a packet is for who listens now
                self._message(message.topic, bytes(message.payload))
        self._after()
        sock = self._client.socket()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._loop.call_soon(self._readable)  # TLS has taken it out of the kernel, which will not tell

    def _writeable(self) -> None:
        self._client.loop_write()
        self._after()
        if not self._writing and not self._closed:
            self._written()

    def _after(self) -> None:
        """After anything was done with the client: what waits to be written, and whether it still is connected."""
        sock = self._client.socket()
        if sock is None:
            self._end("connection lost")
        elif self._client.want_write() != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(sock, self._writeable)
            else:
                self._loop.remove_writer(sock)

    def _beat(self) -> None:
        """Once a second paho looks at its clock. Not while held: the broker's answers are not read then."""
        if self._closed:
            return
        if not self._held and self._client.loop_misc() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end("the broker does not answer")
        self._tick = self._loop.call_later(1.0, self._beat)

    def _unwatch(self, sock: object) -> None:
        if not self._watched:
            return  # perhaps in the thread of _dial, which has no business with the loop
        self._loop.remove_reader(sock)  # type: ignore[arg-type]
        self._loop.remove_writer(sock)  # type: ignore[arg-type]

    def _end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        for come in self._asked.values():
            if not come.done():
                come.set_result(False)
        self._asked.clear()


def address(settings: BrokerSettings, where: str) -> BrokerAddress:
    """With the password, wherever that is; `where`: the table, for errors. Raises ConfigError."""
    broker = parse_broker(settings.url, f"{where}.url")
    if not settings.password_file:
        return broker
    return broker._replace(password=_password(settings.password_file, f"{where}.password_file"))


def address_for_commands(settings: MqttSettings, others: BrokerAddress) -> BrokerAddress:
    """Where `others` go, under a name of its own if there is one. Raises ConfigError."""
    if not settings.commands_user:
        return others
    file = settings.commands_password_file
    password = _password(file, "mqtt.commands_password_file") if file else ""
    return others._replace(user=settings.commands_user, password=password)


def _password(file: str, where: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {where} {file}: {why}", "one line, the password") from error


def secure(settings: BrokerSettings | UpstreamSettings, where: str) -> ssl.SSLContext:
    """Checks the other side by `ca`, or by what this system trusts; shows `cert`, if any. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key or None)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(name for name in (settings.ca, settings.cert, settings.key) if name)
        raise ConfigError(f"{where}: cannot use {files}: {error.strerror or error}", "name PEM files") from error
    return context
