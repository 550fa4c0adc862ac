"""The other end of a board's cable in these tests: a host that stores in memory, and a person who types.

Owns a socket to a board on the bench and what came over it; the board is a real process.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from meuse_protocol.columns_decode import decode
from meuse_protocol.framing import FRAME, TEXT, Deframer, frame
from meuse_protocol.host_endpoint import GapFound, HostEndpoint, Record
from meuse_protocol.host_stream import StreamState
from meuse_protocol.messages import DATA, SINGLE, head, parse, splice

from tests.ports import free_port

DEFAULT: dict[str, Any] = {
    "product": "bench",
    "version": "1",
    "health_ms": 0,
    "links": [{"kind": "uart", "uart": 0, "max_pdu": 1024}],
    "groups": [
        {
            "name": "every_50ms",
            "tick_ms": 50,
            "period_ms": 50,
            "max_age_ms": 200,
            "channels": [
                {"name": "flue", "unit": "Cel", "exp": -1, "driver": "table"},
                {"name": "water", "unit": "Cel", "exp": -2, "driver": "table"},
            ],
        }
    ],
}


class Memory:
    """A journal for one test: streams, and every record that came, by (stream, seq)."""

    def __init__(self, key: bytes | None = None, device: str = "bench-1") -> None:
        self.key = key
        self.device = device
        self.streams: dict[int, StreamState] = {}
        self.records: dict[tuple[int, int], bytes] = {}
        self.gaps: list[tuple[int, int, int]] = []

    def keys(self, device: str) -> list[bytes] | None:
        if device != self.device:
            return None
        return [self.key] if self.key else []

    def stream(self, stream: int) -> StreamState | None:
        return self.streams.get(stream)

    def bind(self, stream: int, device: str) -> StreamState:
        return self.streams.setdefault(stream, StreamState(stream, device, self.keys(device) or []))

    def fields(self, kind: int) -> list[list[Any]]:
        """The elements of all records of a kind, by seq; a record has no stream, so 0 stands for it."""
        found = [parse(splice(r, 0)).fields for _, r in sorted(self.records.items())]
        return [fields for fields in found if fields[0] == kind]

    def values(self, channel: int, sid: int = 1) -> list[Any]:
        """All values of a channel, in order of their records."""
        out: list[Any] = []
        for (_, _), r in sorted(self.records.items()):
            fields = parse(splice(r, 0)).fields
            if fields[0] == SINGLE and fields[3] == sid:
                out.append(fields[5 + channel])
            elif fields[0] == DATA and fields[3] == sid:
                out += decode(fields)[1][channel]
        return out


class Board:
    """The process, and this end of its serial cable. `poll` moves everything; waiting is polling with a deadline."""

    def __init__(self, folder: Path, path: str, micropython: str, settings: dict[str, Any], heap: str = "256k") -> None:
        self.folder = folder
        self.text: list[str] = []
        self.frames = 0
        self.damaged = 0
        self.utc_ms: int | None = None
        self.listening = True
        self._heap = heap
        self._path = path
        self._micropython = micropython
        self.deploy(settings)
        self.values(flue=215, water=4180)
        self.memory = Memory()
        self.process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, socket.socket] = {}  # beside the cable: name in the environment -> the board's end
        self._sockets: list[socket.socket] = []

    def deploy(self, settings: dict[str, Any]) -> None:
        payload = msgpack.packb(settings)
        (self.folder / "config.msgpack").write_bytes(msgpack.packb([1, crc32(payload), payload]))
        (self.folder / "config.msgpack.2").unlink(missing_ok=True)

    def values(self, **values: object) -> None:
        beside = self.folder / "values.new"
        beside.write_text(json.dumps(values))
        beside.replace(self.folder / "values.json")

    def served(self, channel: str) -> list[Any]:
        """What the sensors gave, in order."""
        return [json.loads(line) for line in (self.folder / f"served.{channel}").read_text().splitlines()]

    def start(self) -> "Board":
        self.socket, there = map(self._own, socket.socketpair())
        self._spawn(there)
        there.close()
        self.plug()
        return self

    def _spawn(self, cable: socket.socket) -> None:
        self.spawn({"MEUSE_UART0": cable} | self._ports)

    def spawn(self, ports: dict[str, socket.socket]) -> None:
        """Starts the process; its serial ports, by the name that bench.py looks for."""
        fds = {name: str(port.fileno()) for name, port in ports.items()}
        environment = {**os.environ, "MICROPYPATH": self._path, **fds}
        command = [self._micropython, "-X", f"heapsize={self._heap}", "-m", "bench", str(self.folder)]
        pass_fds = [port.fileno() for port in ports.values()]
        with (self.folder / "stderr").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, pass_fds=pass_fds, stdout=log, stderr=log)

    def plug(self) -> None:
        """A fresh host end: what a host process knows of a link when it opens it."""
        self.kinds: list[int] = []  # types of the packets since then
        self.host = HostEndpoint(self.memory, trusted=self.memory.key is None)
        self.deframer = Deframer(2048)

    def poll(self, wait_s: float = 0.02) -> None:
        now = self.now_ms()
        readable, _, _ = select.select([self.socket], [], [], wait_s)
        data = b""
        if readable:
            with contextlib.suppress(ConnectionError):
                data = self.socket.recv(65536)
            if not data:
                self.hung_up()
        self.deframer.feed(data)
        while (item := self.deframer.next()) is not None:
            if item[0] == TEXT:
                self.text.append(item[1].decode())
            elif item[0] == FRAME:
                self.frames += 1
                self.kinds.append(head(item[1])[0])
                if self.listening:
                    self.host.receive(item[1], now, self.utc_ms)
            else:
                self.damaged += 1
        self._store(now)

    def now_ms(self) -> int:
        """The host's clock."""
        return int(time.monotonic() * 1000)

    def hung_up(self) -> None:
        time.sleep(0.01)  # nothing will come any more

    def _store(self, now: int) -> None:
        while (event := self.host.next_event()) is not None:
            if isinstance(event, Record):
                known = self.memory.records.setdefault((event.state.stream, event.seq), bytes(event.record))
                assert known == event.record
                self.host.stored(event.state.stream, [event.seq], now)
            elif isinstance(event, GapFound):
                self.memory.gaps.append((event.first, event.last, event.reason))
                self.host.gap_stored(event.state.stream, event.first, event.last, now)
        while self.listening and self.connected and (e2e := self.host.next_pdu(now)) is not None:
            self.answer(e2e)

    def answer(self, e2e: bytes) -> None:
        self.send(frame(e2e))

    @property
    def connected(self) -> bool:
        return True

    def send(self, data: bytes) -> None:
        self.socket.settimeout(20)  # a full wire is waited for
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
        with contextlib.suppress(OSError):
            self.socket.setblocking(False)

    def _own(self, one: socket.socket) -> socket.socket:
        self._sockets.append(one)
        one.setblocking(False)
        return one

    def until(self, what: Callable[[], Any], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert self.process is None or self.process.poll() is None, (self.folder / "stderr").read_text()
            assert time.monotonic() < deadline, (self.text[-20:], self.frames, (self.folder / "stderr").read_text())
            self.poll()
        return found

    def ask(self, line: str, end: str, seconds: float = 60.0) -> str:
        """Types a line; all text up to and including the line that holds `end`."""
        begin = len(self.text)
        self.send(line.encode() + b"\r")
        self.until(lambda: any(end in t for t in self.text[begin:]), seconds)
        return "\n".join(self.text[begin:])

    def stop(self, seconds: float = 60.0) -> int:
        """Asks for an orderly end -> exit status."""
        assert self.process
        (self.folder / "stop").touch()
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        assert self.process
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the board does not end"
            self.poll()
        status = self.process.returncode
        self.process = None
        return status

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        for one in self._sockets:
            one.close()


class TcpBoard(Board):
    """A board whose first link leads to a TCP server that this test plays; its cable is a console."""

    def __init__(self, folder: Path, path: str, micropython: str, settings: dict[str, Any], heap: str = "256k") -> None:
        self.connects = 0
        self.listener: socket.socket | None = None
        self.port = free_port()
        link = {"kind": "tcp", "host": "localhost", "port": self.port, "max_pdu": 1024}
        super().__init__(folder, path, micropython, {**settings, "links": [link, *settings["links"]]}, heap)

    def start(self) -> "TcpBoard":
        self.cable, there = map(self._own, socket.socketpair())
        self.socket = self.cable
        self._spawn(there)
        there.close()
        self.plug()
        return self

    def listen(self) -> None:
        self.listener = self._own(socket.create_server(("127.0.0.1", self.port)))

    def deaf(self) -> None:
        """The server's process ends: listener and connection are closed."""
        assert self.listener
        self.listener.close()
        self.listener = None
        if self.socket is not self.cable:
            self.socket.close()
        self.socket = self.cable

    def poll(self) -> None:
        if self.listener:
            with contextlib.suppress(BlockingIOError):
                connection, _ = self.listener.accept()
                if self.socket is not self.cable:
                    self.socket.close()
                self.socket = self._own(connection)
                self.connects += 1
                self.plug()
        super().poll()

    def hung_up(self) -> None:
        if self.socket is not self.cable:
            self.socket.close()
            self.socket = self.cable

    @property
    def connected(self) -> bool:
        return self.socket is not self.cable


class UdpBoard(Board):
    """A board whose first link leads to a UDP socket that this test plays; its cable is a console.

    `ports`: where it spoke from, in order; `packets`: what came, newest last.
    """

    def __init__(
        self, folder: Path, path: str, micropython: str, settings: dict[str, Any], heap: str = "256k", **link: object
    ) -> None:
        self.ports: list[int] = []
        self.packets: list[bytes] = []
        self.server: socket.socket | None = None
        self.port = free_port()
        first = {"kind": "udp", "host": "localhost", "port": self.port, **link}
        super().__init__(folder, path, micropython, {**settings, "links": [first, *settings["links"]]}, heap)
        self.memory.key = bytes(range(32))
        (folder / "key").write_bytes(self.memory.key)

    def listen(self) -> None:
        self.server = self._own(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.server.bind(("127.0.0.1", self.port))
        self.plug()

    def deaf(self) -> None:
        """The server's process ends: its machine says that nobody listens there."""
        assert self.server
        self.server.close()
        self.server = None

    def poll(self) -> None:
        now = int(time.monotonic() * 1000)
        while self.server:
            try:
                packet, address = self.server.recvfrom(4096)
            except BlockingIOError:
                break
            if not self.ports or self.ports[-1] != address[1]:
                self.ports.append(address[1])
                if self.listening:
                    self.plug()
            self.packets.append(packet)
            self.kinds.append(head(packet)[0])
            if self.listening:
                self.host.receive(packet, now, self.utc_ms)
        super().poll()

    def answer(self, e2e: bytes) -> None:
        assert self.server
        self.server.sendto(e2e, ("127.0.0.1", self.ports[-1]))

    @property
    def connected(self) -> bool:
        return self.server is not None and bool(self.ports)
