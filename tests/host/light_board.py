"""A board for tests of the host: the shared protocol, a log in memory, on any file descriptor.

Runs on the test's event loop; nothing in it sleeps. What it made, and what the host acknowledged,
can be read from it at any time.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable

from meuse_protocol import messages
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.messages import splice
from meuse_protocol.schema import Schema

from tests.shared.memory_log import MemoryLog

POLL_S = 0.005


async def until(what: Callable[[], object], why: str, seconds: float = 60.0) -> None:
    """Polls until `what()` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"{why}: not within {seconds} s"
        await asyncio.sleep(POLL_S)


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LightBoard:
    """One device with one stream. `plug` it into a descriptor, `unplug` it, plug it in elsewhere."""

    def __init__(self, device: str, key: bytes | None, log: MemoryLog | None = None) -> None:
        self.device = device
        self.log = log or MemoryLog(secrets.randbits(31) | 1 << 31)
        self.endpoint = BoardEndpoint(device, self.log.stream, key, self.log)
        self.events: list[object] = []
        self.received = 0
        self._fd = -1
        self._deframer = Deframer(1024)
        self._out = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None

    # -- its life

    def add(self, count: int = 1, size: int = 20) -> None:
        """`count` more records of about `size` bytes of text."""
        for _ in range(count):
            text = secrets.token_bytes(size)
            self.endpoint.record_added(self.log.append(messages.BLOB, 1, None, text))
        self._pump()

    def announce(self, schema: Schema) -> None:
        """A SCHEMA, made once and for all."""
        self.endpoint.record_added(self.log.append(messages.SCHEMA, *schema.to_body()))
        self.endpoint.schemas = [[schema.sid, schema.hash4()]]
        self._pump()

    def packet(self, record: bytes, stream: int) -> bytes:
        """A packet of any stream, as only this board can sign it."""
        return splice(self.endpoint._signed(record), stream)

    @property
    def made(self) -> int:
        """Records so far."""
        return self.log.next_seq() - 1

    @property
    def acked(self) -> int:
        """All up to this seq are durable, says the host."""
        return self.log.oldest() - 1

    async def drained(self, seconds: float = 60.0) -> None:
        await until(lambda: self.acked == self.made, f"{self.device} drains", seconds)

    # -- its cable

    async def connect(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.socket()
        self._socket.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(self._socket, (host, int(port)))
        except OSError:
            self.unplug()
            raise
        self.plug(self._socket.fileno())

    def plug(self, fd: int) -> None:
        """Speak on this descriptor, which the caller owns; it is made non-blocking."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._deframer = Deframer(1024)
        self._out.clear()
        asyncio.get_running_loop().add_reader(fd, self._readable)
        self._up()

    def _up(self) -> None:
        self.endpoint.link_up(now_ms(), 1024, secrets.randbits(32))
        self._pump()

    def unplug(self) -> None:
        if self._fd >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            self._fd = -1
            self.endpoint.link_down(now_ms())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def plugged(self) -> bool:
        return self._fd >= 0

    def send_raw(self, data: bytes) -> None:
        """Anything at all onto the wire."""
        self._out += data
        self._flush()

    def send_packet(self, e2e: bytes) -> None:
        """Another board's packet onto this one's wire."""
        self.send_raw(b"\0" + frame(e2e))

    # -- inside

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.unplug()
            return
        self.received += len(data)
        self._deframer.feed(data)
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                self._take(item[1])
        self._pump()

    def _take(self, e2e: bytes) -> None:
        self.endpoint.receive(e2e, now_ms())
        while (event := self.endpoint.next_event()) is not None:
            self.events.append(event)

    def _pump(self) -> None:
        if self._fd < 0:
            return
        while len(self._out) < 8192 and (e2e := self.endpoint.next_pdu(now_ms())) is not None:
            self._out += b"\0" + frame(e2e)
        self._flush()
        self._arm()

    def _arm(self) -> None:
        deadline = self.endpoint.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay_s = max(deadline - now_ms(), 1) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._pump)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._out:
                sent = os.write(self._fd, self._out)
                del self._out[:sent]
        except BlockingIOError:
            loop.add_writer(self._fd, self._writable)
        except OSError:
            self.unplug()

    def _writable(self) -> None:
        asyncio.get_running_loop().remove_writer(self._fd)
        self._pump()
