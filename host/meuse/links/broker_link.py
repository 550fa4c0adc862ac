"""Boards behind an MQTT broker, whoever runs it: one connection, and a session for each name that speaks there.

Owns the broker's comings and goings, the bound on sessions, and when one ends. What the topics are called and what a
message holds is a subclass's business. Strangers may publish too: sessions are bounded, the one that was silent longest
makes way, and silent ones end. A PUBACK is the broker's; that a record is stored is told by the session alone, so a
broker that loses everything loses no reading.
"""

import asyncio
import logging
from collections import OrderedDict

from meuse.links import Opened, Receiver, broker
from meuse.links.broker import BrokerConnection
from meuse.links.steady import Steady
from meuse.settings import BrokerAddress, BrokerSettings

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 60.0


class BrokerLink:
    """Subscribed to `topics` at one broker for as long as it lives; `address` is for people, without a password.

    section: where the settings stand, for people. idle_s: a session that was silent for so long ends.
    """

    kind: str
    peer_class: "type[Peer]"

    def __init__(
        self,
        settings: BrokerSettings,
        section: str,
        topics: str,
        opened: Opened,
        max_sessions: int,
        idle_s: float,
        embedded: BrokerAddress | None = None,
    ) -> None:
        self._broker = embedded or broker.address(settings, section)
        self._secure = broker.secure(settings, section) if self._broker.tls else None
        self._topics = topics
        self._opened = opened
        self._max_sessions = max_sessions
        self._idle_s = idle_s
        self.address = f"{self._broker.host}:{self._broker.port}"
        self.peers: OrderedDict[str, Peer] = OrderedDict()  # the one silent longest comes first
        self.attempts = 0
        self.evicted = 0  # sessions that made way
        self._connection: BrokerConnection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._held: set[Peer] = set()
        self._waiting: set[Peer] = set()  # wanted to write
        self._stopping = False
        self._steady = Steady(f"broker {self.address}", log)

    # -- what a subclass says

    def message(self, topic: str, payload: bytes) -> None:
        """What came, retained ones excepted."""
        raise NotImplementedError

    def answer(self, peer: "Peer", data: bytes) -> None:
        """Publish one packet to whoever this is."""
        raise NotImplementedError

    def connected(self) -> None:
        """The subscription is granted."""

    # -- its life

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
        connection = BrokerConnection(self._broker, self._secure, self.message, self._writable)
        try:
            await connection.open(self._topics)
            self._connection = connection
            self.connected()
            self._steady.connected()
            return await connection.lost
        except OSError as error:
            return error.strerror or str(error)
        finally:
            self._connection = None
            connection.close()
            for peer in list(self.peers.values()):
                self.drop(peer)

    def publish(self, topic: str, payload: bytes) -> None:
        """Nothing while the broker is away."""
        if self._connection is not None:
            self._connection.publish(topic, payload)

    def _writable(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for peer in waiting:
            if peer.receiver is not None:
                peer.receiver.writable()

    # -- sessions

    def heard(self, name: str) -> "Peer | None":
        """Who speaks under this name, from now on the one heard last; None while the host stops."""
        peer = self.peers.get(name) or self._begin(name)
        if peer is not None:
            self.peers.move_to_end(peer.name)
            peer.heard = asyncio.get_running_loop().time()
        return peer

    def _begin(self, name: str) -> "Peer | None":
        if self._stopping:
            return None
        if len(self.peers) >= self._max_sessions:
            self.evicted += 1
            self.drop(next(iter(self.peers.values())))
        peer = self.peers[name] = self.peer_class(self, name)
        peer.receiver = self._opened(f"{self.kind}:{self.address}/{name}", self.kind, peer)
        return peer

    def _sweep(self) -> None:
        """End sessions of boards that are gone without a word."""
        now = asyncio.get_running_loop().time()
        for peer in list(self.peers.values()):
            if now - peer.heard < self._idle_s:
                break
            self.drop(peer)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)

    def drop(self, peer: "Peer") -> None:
        if self.peers.get(peer.name) is peer:
            del self.peers[peer.name]
        self._waiting.discard(peer)
        self.hold(peer, False)
        receiver, peer.receiver = peer.receiver, None
        if receiver is not None:
            receiver.lost()

    # -- for the wires

    def writable(self, peer: "Peer") -> bool:
        if self._connection is not None and self._connection.writable:
            return True
        self._waiting.add(peer)
        return False

    def hold(self, peer: "Peer", held: bool) -> None:
        """All share one connection: while one is held, nothing is read."""
        if held:
            self._held.add(peer)
        else:
            self._held.discard(peer)
        if self._connection is not None:
            self._connection.hold(bool(self._held))

    def close_later(self, peer: "Peer") -> None:
        asyncio.get_running_loop().call_soon(self.drop, peer)


class Peer:
    """A name that speaks behind the broker: a Wire towards the session."""

    __slots__ = ("_link", "heard", "name", "receiver")

    packets = True

    def __init__(self, link: BrokerLink, name: str) -> None:
        self._link = link
        self.name = name
        self.receiver: Receiver | None = None
        self.heard = asyncio.get_running_loop().time()

    @property
    def writable(self) -> bool:
        return self.receiver is not None and self._link.writable(self)

    def write(self, data: bytes) -> None:
        self._link.answer(self, data)

    def hold(self, held: bool) -> None:
        self._link.hold(self, held)

    def close(self) -> None:
        self._link.close_later(self)
