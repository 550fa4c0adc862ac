"""One connection that this host makes: to an address, by TCP or TLS, again whenever it is gone."""

import asyncio
import logging
import ssl
from typing import cast

from meuse.links import Opened, Receiver
from meuse.links.steady import Steady
from meuse.links.tcp import WRITE_HIGH_BYTES, keep_alive
from meuse.links.tls import reason

log = logging.getLogger(__name__)

DIAL_S = 20.0


class DialLink:
    """`opened(name, kind, wire)` with every connection. secure: for TLS."""

    def __init__(self, kind: str, host: str, port: int, opened: Opened, secure: ssl.SSLContext | None) -> None:
        self.kind = kind
        self.name = f"{kind}:{host}:{port}"
        self._host = host
        self._port = port
        self._opened = opened
        self._secure = secure
        self._steady = Steady(self.name, log)
        self._dialling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Whoever is not there yet is called again."""
        self._dialling = asyncio.create_task(self._steady.run(self._serve), name=self.name)

    def stop_listening(self) -> None:
        """There is nothing to listen to."""

    async def close(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, return_exceptions=True)

    async def _serve(self) -> str:
        """One connection, and why it ended."""
        call = _Call(self)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_S):
                await loop.create_connection(lambda: call, self._host, self._port, ssl=self._secure)
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return reason(error) if isinstance(error, ssl.SSLError) else error.strerror or str(error)
        self._steady.connected()
        try:
            return await asyncio.shield(call.lost)
        finally:
            call.close()

    def accept(self, call: "_Call") -> Receiver | None:
        return self._opened(self.name, self.kind, call)


class _Call(asyncio.Protocol):
    """The connection: a Wire towards whoever speaks on it."""

    packets = False

    def __init__(self, link: DialLink) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        keep_alive(self._transport.get_extra_info("socket"))
        self._receiver = self._link.accept(self)

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable = False
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost()
        if not self.lost.done():
            self.lost.set_result("connection lost")

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

    def hold(self, held: bool) -> None:
        """Answers from upstream are small, and are always read."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
