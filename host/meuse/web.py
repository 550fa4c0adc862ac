"""An address where HTTP is spoken, in the host's own loop: uvicorn under any ASGI application.

Owns the socket and the time that a silent connection gets; what is asked and answered is the application's business.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from meuse.errors import NotReachable

# Longer than proxies keep a connection that may carry another request.
KEEP_ALIVE_S = 120

# Whoever has connected asks within this time, and has said all of it.
ASK_WITHIN_S = 30.0

# A request's line and headers.
HEAD_BYTES = 16 * 1024

STOP_S = 3


class WebServer:
    """A Link in the sense of meuse.links: `address` is the real one once started."""

    def __init__(self, host: str, port: int, app: Any, max_connections: int, setting: str = "http.listen") -> None:
        self._setting = setting
        self._host = host
        self._port = port
        self._app = app
        self._most = max_connections
        self._task: asyncio.Task[None] | None = None
        self._server: _Server | None = None
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        """Listen; raises NotReachable when the address cannot be had."""
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0]
            sock = socket.create_server(found[4][:2], family=found[0], backlog=256)
        except OSError as error:
            why = error.strerror or str(error)
            raise NotReachable(f"cannot listen on {self.address}: {why}", f"name another in {self._setting}") from error
        host, port = sock.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._server = _Server(_settings(self._app, self._most))
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]), name=f"http {self.address}")
        await self._server.up.wait()

    def stop_listening(self) -> None:
        if self._server is not None and self._server.started:
            for each in self._server.servers:
                each.close()

    async def close(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)


def _settings(app: Any, most: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        log_level="error",  # a line for each stranger's mistake would fill a disk
        server_header=False,
        limit_concurrency=most,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )


class _Server(uvicorn.Server):
    """Signals are the business of whoever runs the host. `up`: set once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Impatient(H11Protocol):
    """uvicorn waits for ever for the first request, and for the end of its head: this does not."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._looked_at: object = None
        self.loop.call_later(ASK_WITHIN_S, self._look)

    def _look(self) -> None:
        """Closed when no request has begun since the last look, and none is being answered."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        idle = cycle is None or cycle.response_complete
        kept = cycle is not None and self.timeout_keep_alive_task is not None
        if idle and cycle is self._looked_at and not kept:
            self.transport.close()
            return
        self._looked_at = cycle
        self.loop.call_later(ASK_WITHIN_S, self._look)
