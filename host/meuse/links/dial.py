"""One connection that this host makes: to an address, by TCP or TLS, again whenever it is gone."""

import asyncio
import logging
import ssl

from meuse.links import Opened, Receiver
from meuse.links.connection import Connection
from meuse.links.steady import Steady
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


class _Call(Connection, asyncio.Protocol):
    """The connection: a Wire towards whoever speaks on it."""

    def __init__(self, link: DialLink) -> None:
        super().__init__()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._receiver = self._link.accept(self)

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result("connection lost")

    def hold(self, held: bool) -> None:
        """Answers from upstream are small, and are always read."""
