"""A host at the plug of a virtual board: opens its serial port or waits for its connection, and stores in memory.

Owns what came over the wire; a lost wire is opened again, as a host does. Waiting is polling with a deadline.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meuse_protocol.framing import FRAME, TEXT, Deframer, frame
from meuse_protocol.host_endpoint import GapFound, HostEndpoint, Record
from meuse_protocol.messages import SCHEMA

from .peer import Memory


class Port:
    """A serial port by path; gone while the plug is out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def open(self) -> bool:
        with contextlib.suppress(OSError):
            self._fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        return self._fd is not None

    def fileno(self) -> int:
        assert self._fd is not None
        return self._fd

    def read(self) -> bytes:
        """b"" when the plug was pulled."""
        try:
            return os.read(self.fileno(), 65536)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.fileno(), data)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Listener:
    """A TCP address that the board connects to; one connection at a time."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._socket: socket.socket | None = None
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def open(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self._socket, _ = self._listening.accept()
            self._socket.setblocking(False)
        return self._socket is not None

    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def read(self) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv(65536)
        except ConnectionError:
            return b""

    def write(self, data: bytes) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def shut(self) -> None:
        self.close()
        self._listening.close()


class Desk:
    """Stores every record at once and acknowledges it; `memory` outlives connections."""

    def __init__(self, device: str, wire: Port | Listener, key: bytes | None = None) -> None:
        self.memory = Memory(key, device)
        self.text: list[str] = []
        self.damaged = 0
        self.connections = 0
        self._wire = wire
        self.connected = False

    def poll(self) -> None:
        if not self.connected:
            self.connected = self._wire.open()
            if not self.connected:
                time.sleep(0.02)
                return
            self.connections += 1
            self._host = HostEndpoint(self.memory, trusted=self.memory.key is None)
            self._deframer = Deframer(2048)
        readable, _, _ = select.select([self._wire], [], [], 0.02)
        if readable:
            data = self._wire.read()
            if not data:
                self._wire.close()
                self.connected = False
                return
            self._deframer.feed(data)
        self._receive(int(time.monotonic() * 1000))

    def _receive(self, now: int) -> None:
        while (item := self._deframer.next()) is not None:
            if item[0] == TEXT:
                self.text.append(item[1].decode(errors="replace"))
            elif item[0] == FRAME:
                self._host.receive(item[1], now, int(time.time() * 1000))
            else:
                self.damaged += 1
        while (event := self._host.next_event()) is not None:
            if isinstance(event, Record):
                record = bytes(event.record)
                assert self.memory.records.setdefault((event.state.stream, event.seq), record) == record
                self._host.stored(event.state.stream, [event.seq], now)
            elif isinstance(event, GapFound):
                self.memory.gaps.append((event.first, event.last, event.reason))
                self._host.gap_stored(event.state.stream, event.first, event.last, now)
        while (e2e := self._host.next_pdu(now)) is not None:
            self._wire.write(frame(e2e))

    def type(self, line: str) -> None:
        self._wire.write(line.encode() + b"\r")

    def until(self, what: Callable[[], Any], why: str, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, f"{why}: not within {seconds} s; {self.text[-20:]}"
            self.poll()
        return found

    def columns(self) -> dict[str, list[Any]]:
        """channel -> all its values in order: whole numbers of the channel's exp10, or [-q]."""
        out: dict[str, list[Any]] = {}
        for fields in self.memory.fields(SCHEMA):
            for i, channel in enumerate(fields[6]):
                out[channel[0]] = self.memory.values(i, fields[3])
        return out

    def rows(self, channel: str) -> int:
        return len(self.columns().get(channel, []))

    def close(self) -> None:
        self._wire.close()
        self.connected = False
