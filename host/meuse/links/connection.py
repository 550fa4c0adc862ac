"""One connection over TCP, whoever began it: how much waits to be sent, and probes for a peer that vanished.

Who accepts or dials, and how bytes are read, is for those who derive from it: tcp.py and dial.py.
"""

import asyncio
import contextlib
import socket
from typing import Any, cast

from meuse.links import Receiver

# Acknowledgements are small; a peer that does not read them is not sent more.
WRITE_HIGH_BYTES = 32 * 1024

# A peer that vanished without a word is noticed after a minute and three probes.
KEEPALIVE_IDLE_S = 60
KEEPALIVE_EVERY_S = 10
KEEPALIVE_TRIES = 3


class Connection(asyncio.BaseProtocol):
    """A Wire towards its receiver, but for `hold`; a host has thousands: slots, also in what derives from it."""

    __slots__ = ("_receiver", "_transport", "_writable")

    packets = False

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        _keep_alive(self._transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable = False
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._receiver is not None:
            self._receiver.writable()

    @property
    def writable(self) -> bool:
        return self._writable

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _keep_alive(sock: Any) -> None:
    """Probes for a vanished peer; a system without an option keeps its own default."""
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TRIES)
