"""HTTP POST: frames come as the body of a request, what the host has to say goes back as the body of its reply.

Owns requests, their bounds and their statuses, and a receiver for each device that lives on between requests. A reply
waits until what came is durable, so that the acknowledgement is in it. Who may speak is the receiver's business: every
device needs a key. Serves nothing by itself: `routes` belong into an application (meuse.web).
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meuse.links import Receiver, Wire

KIND = "http"
CONTENT = "application/octet-stream"

# What a board may send at once: a window of the largest packets does not fit, a usual one does.
BODY_BYTES = 64 * 1024
BODY_S = 30.0

# How long a reply waits for its acknowledgement; what is not durable by then is acknowledged in the next.
REPLY_S = 2.0

# An acknowledgement may wait for others (protocol: 250 ms); what is due later is not waited for.
SOON_MS = 300
OWED_MAX = 8

# Waiting for one device; the session sends no more until it is fetched.
OUT_BYTES = 32 * 1024

# Nobody has asked for so long: the device is gone. More than the longest pause between two requests (10 min).
IDLE_S = 900.0

# A board that was reset comes with another number; strangers may come with any.
PER_DEVICE = 4


class Speaker(Receiver, Protocol):
    """The receiving side of a device's requests."""

    device: str | None

    def due_in_ms(self) -> int | None:
        """When something will be sent by itself; None: not before something comes."""


class HttpLink:
    """`known(device)`: it may ask here; `settled()`: done when all that came so far is durable."""

    def __init__(
        self,
        opened: Callable[[str, str, Wire], Speaker],
        known: Callable[[str], bool],
        settled: Callable[[], "asyncio.Future[None]"],
    ) -> None:
        self._opened = opened
        self._known = known
        self._settled = settled
        self.lines: dict[tuple[str, str], _Line] = {}
        self.routes = [Route("/v1/link/{device}", self._link, methods=["POST"])]

    def close(self) -> None:
        for line in list(self.lines.values()):
            line.close()

    async def _link(self, request: Request) -> Response:
        device = request.path_params["device"]
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT:
            return _says(415, f"content-type must be {CONTENT}")
        if not self._known(device):
            return _says(404, "no device of this name has a key here")
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request)
        except TimeoutError:
            return _says(408, f"the body took longer than {BODY_S:.0f} s")
        except ClientDisconnect:
            return _says(400, "cut off")
        if body is None:
            return _says(413, f"at most {BODY_BYTES} bytes in one request")
        line = self._line(device, request.headers.get("meuse-link", "")[:16])
        if line.held:
            return _says(503, "cannot store anything right now")
        return Response(await self._exchange(line, body), media_type=CONTENT)

    def _line(self, device: str, number: str) -> "_Line":
        """The one of this device with this number; a new one may take the place of an old one."""
        line = self.lines.get((device, number))
        if line is None:
            others = [each for (name, _), each in self.lines.items() if name == device]
            if len(others) >= PER_DEVICE:
                min(others, key=lambda each: (each.speaker.device is not None, each.used)).close()
            line = _Line(self.lines, (device, number))
            line.speaker = self._opened(f"{KIND}:{device}", KIND, line)
            self.lines[device, number] = line
        return line

    async def _exchange(self, line: "_Line", body: bytes) -> bytes:
        line.touch()
        line.speaker.receive(body)
        settled = self._settled()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLY_S):
                await settled
                await line.caught_up()
        return line.take()


class _Line:
    """The Wire of one device: what is written waits for its next request."""

    packets = False

    def __init__(self, lines: "dict[tuple[str, str], _Line]", key: tuple[str, str]) -> None:
        self.speaker: Speaker
        self.held = False
        self.closed = False
        self.used = 0.0
        self._lines = lines
        self._key = key
        self._out = bytearray()
        self._idle: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        loop = asyncio.get_running_loop()
        self.used = loop.time()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(IDLE_S, self.close)

    async def caught_up(self) -> None:
        """Until what is due soon is written."""
        for _ in range(OWED_MAX):
            due_ms = None if self.closed else self.speaker.due_in_ms()
            if due_ms is None or due_ms > SOON_MS:
                return
            await asyncio.sleep(max(due_ms, 1) / 1000)

    def take(self) -> bytes:
        """What waits; there is room for more afterwards."""
        full = not self.writable
        out = bytes(self._out)
        self._out.clear()
        if full and not self.closed:
            self.speaker.writable()
        return out

    @property
    def writable(self) -> bool:
        return not self.closed and len(self._out) < OUT_BYTES

    def write(self, data: bytes) -> None:
        self._out += data

    def hold(self, held: bool) -> None:
        self.held = held

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._idle is not None:
            self._idle.cancel()
        self._lines.pop(self._key, None)
        self.speaker.lost()


async def _body(request: Request) -> bytes | None:
    """The request's body; None when it is too long."""
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > BODY_BYTES:
        return None
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            return None
    return bytes(body)


def _says(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)
