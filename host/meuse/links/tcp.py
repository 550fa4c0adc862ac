"""TCP: listens, accepts, hands over bytes. Reads into one small buffer shared by all connections.

With TLS a connection is one when its handshake is through (tls.py); then it is like any other.

A callback protocol, not a StreamReader: a frame costs less, and a held connection keeps no more
than what the kernel holds.
"""

import asyncio
import errno
import logging
import resource
from collections.abc import Callable
from typing import cast

from meuse.errors import NotReachable
from meuse.links import Opened, Receiver, tls
from meuse.links.connection import Connection

log = logging.getLogger(__name__)

KIND = "tcp"

# One read: 16 of the largest frames. Also what may arrive after the queue has filled up.
READ_BYTES = 64 * 1024

# From strangers: a turn of the event loop stays short, however many of them there are.
STRANGER_READ_BYTES = 4 * 1024

# A listener that was full says that there is room again below this share.
ROOM_AGAIN = 0.9

# What the host opens beside its connections: journal, lake, console logs, ports, listeners.
OTHER_DESCRIPTORS = 128


def room_for(connections: int) -> int:
    """How many of these this process may have open at once; asks the system for more if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - OTHER_DESCRIPTORS)
    return connections


class TcpLink:
    """Listens on one address; `address` is the real one once started. `handshakes`: TLS, None for none.

    `count(name)`: what a person may want to know of, here connections that were one too many.
    """

    def __init__(
        self,
        host: str,
        port: int,
        opened: Opened,
        max_connections: int,
        count: Callable[[str], None],
        handshakes: tls.Handshakes | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._opened = opened
        self._max_connections = max_connections
        self._handshakes = handshakes
        self._kind = tls.KIND if handshakes else KIND
        self._server: asyncio.Server | None = None
        self._buffer = memoryview(bytearray(READ_BYTES))
        self.connections: set[_Connection] = set()
        self._count = count
        self._told_full = False
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        """Listen; raises NotReachable when the address cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accepted, self._host, self._port, backlog=1024)
        except OSError as error:
            advice = "name another address with --tcp HOST:PORT"
            if error.errno == errno.EADDRINUSE:
                why, advice = "it is in use", f"is another host running? {advice}"
            elif error.errno == errno.EADDRNOTAVAIL:
                why = "this machine has no such address"
            else:
                why = error.strerror or str(error)
            if self._handshakes:
                advice = advice.replace("with --tcp HOST:PORT", "in tls.listen")
            raise NotReachable(f"cannot listen on {self.address}: {why}", advice) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def stop_listening(self) -> None:
        """No new connections; the open ones stay."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        self.stop_listening()
        if self._handshakes:
            self._handshakes.close()
        for connection in list(self.connections):
            connection.close()

    def _accepted(self) -> asyncio.BaseProtocol:
        return _Stranger(self, self._handshakes) if self._handshakes else _Connection(self)

    def full(self) -> bool:
        """No room for one more; counts those who are sent away, and says so once."""
        under_way = len(self._handshakes.under_way) if self._handshakes else 0
        count = len(self.connections) + under_way
        full = count >= self._max_connections
        if full:
            self._count(f"{self._kind}_refused")
        if full and not self._told_full:
            log.warning("%s %s: full with %d connections; more are closed at once", self._kind, self.address, count)
            self._told_full = True
        elif self._told_full and count < self._max_connections * ROOM_AGAIN:
            log.info("%s %s: room for connections again", self._kind, self.address)
            self._told_full = False
        return full

    def accept(self, connection: "_Connection", peer: str) -> Receiver | None:
        if self._handshakes is None and self.full():
            return None
        receiver = self._opened(f"{self._kind}:{peer}", self._kind, connection)
        if receiver is not None:
            self.connections.add(connection)
        return receiver

    def buffer(self, size: int = READ_BYTES) -> memoryview:
        """Shared: the event loop fills it and calls back before it fills it again."""
        return self._buffer[:size]


class _Stranger(asyncio.Protocol):
    """Accepted, and perhaps a connection after its handshake."""

    def __init__(self, link: TcpLink, handshakes: tls.Handshakes) -> None:
        self._link = link
        self._handshakes = handshakes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._link.full():
            cast(asyncio.Transport, transport).abort()
        else:
            self._handshakes.begin(transport, _Connection(self._link))


class _Connection(Connection, asyncio.BufferedProtocol):
    """One accepted connection: a Wire towards the session."""

    __slots__ = ("_early", "_held", "_link")

    def __init__(self, link: TcpLink) -> None:
        super().__init__()
        self._link = link
        self._held = False
        self._early = b""  # what came with the last bytes of a handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._receiver = self._link.accept(self, peer[0] if peer else "unknown")
        early, self._early = self._early, b""
        if self._receiver is None:
            self.close()
        elif early:
            self._receiver.receive(early)

    def get_buffer(self, sizehint: int) -> memoryview:
        strange = self._receiver is None or self._receiver.stranger
        return self._link.buffer(STRANGER_READ_BYTES if strange else READ_BYTES)

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._link.buffer(nbytes))
        if self._receiver is not None:
            self._receiver.receive(data)
        elif self._transport is None:
            self._early += data

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.connections.discard(self)
        super().connection_lost(exc)

    def hold(self, held: bool) -> None:
        if self._transport is None or self._held == held:
            return
        self._held = held
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
