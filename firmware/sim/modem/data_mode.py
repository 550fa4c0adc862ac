"""A call of a simulated modem: PPP frames between the serial line and real TCP connections, until it is over.

Simulated, but for the frames themselves: RFC 1662 with escapes and FCS-16, and RFC 1661's Configure and Terminate of
LCP. Negotiation of anything, IPCP and IP are not run; protocol 0x0021 carries the number of a connection, what is done
with it, and data (tests/firmware/bench_board/point_to_point.py is the other end).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

FLAG, ESCAPE = 0x7E, 0x7D
LCP, DATAGRAM = 0xC021, 0x0021
REQUEST, ACK, TERMINATE, TERMINATED = 1, 2, 5, 6
OPEN, DATA, CLOSE = 1, 2, 3
PIECE = 200
END_BYTES = 4096  # without a flag: noise

Dial = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]]


def fcs(data: bytes) -> int:
    """RFC 1662, C.2."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return value ^ 0xFFFF


def framed(protocol: int, data: bytes) -> bytes:
    data = bytes((0xFF, 3)) + protocol.to_bytes(2, "big") + data
    data += fcs(data).to_bytes(2, "little")
    out = bytearray((FLAG,))
    for byte in data:
        if byte in (FLAG, ESCAPE) or byte < 0x20:
            out.append(ESCAPE)
            byte ^= 0x20
        out.append(byte)
    return bytes(out) + bytes((FLAG,))


def unframed(raw: bytes) -> tuple[int, bytes] | None:
    """Protocol and payload of what stood between two flags; None for what is no frame."""
    data, escaped = bytearray(), False
    for byte in raw:
        if byte == ESCAPE:
            escaped = True
        else:
            data.append(byte ^ 0x20 if escaped else byte)
            escaped = False
    if len(data) < 6 or fcs(bytes(data[:-2])) != int.from_bytes(data[-2:], "little"):
        return None
    return int.from_bytes(data[2:4], "big"), bytes(data[4:-2])


class Call:
    """`write(bytes)`: to the serial line; `dial("host:port")`: a connection of the network's, None for refused."""

    def __init__(self, write: Callable[[bytes], None], dial: Dial) -> None:
        self._write = write
        self._dial = dial
        self._in = b""
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.over = False  # the board has said goodbye
        self.frames = 0

    @property
    def connected(self) -> bool:
        return bool(self._writers)

    def take(self, data: bytes) -> None:
        """What came over the serial line."""
        *frames, self._in = (self._in + data).split(bytes((FLAG,)))
        self._in = self._in[-END_BYTES:]
        for raw in frames:
            frame = unframed(raw)
            if frame:
                self.frames += 1
                self._heard(*frame)

    def goodbye(self) -> None:
        """The network ends the call, in order."""
        self._write(framed(LCP, bytes((TERMINATE, 1, 0, 4))))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        for writer in self._writers.values():
            writer.close()
        self._tasks.clear()
        self._writers.clear()

    def _heard(self, protocol: int, data: bytes) -> None:
        if protocol == LCP:
            if data[0] == REQUEST:
                self._write(framed(LCP, bytes((ACK,)) + data[1:]))
            elif data[0] == TERMINATE:
                self._write(framed(LCP, bytes((TERMINATED,)) + data[1:]))
                self.over = True
        elif protocol == DATAGRAM:
            number, op, rest = data[0], data[1], data[2:]
            if op == OPEN:
                self._tasks[number] = asyncio.create_task(self._connection(number, rest.decode()))
            elif op == DATA and number in self._writers:
                self._writers[number].write(rest)
            elif op == CLOSE and number in self._tasks:
                self._tasks.pop(number).cancel()

    async def _connection(self, number: int, where: str) -> None:
        found = await self._dial(where)
        if found:
            reader, writer = found
            self._writers[number] = writer
            self._write(framed(DATAGRAM, bytes((number, OPEN))))
            try:
                with contextlib.suppress(OSError):
                    while data := await reader.read(PIECE):
                        self._write(framed(DATAGRAM, bytes((number, DATA)) + data))
            finally:
                writer.close()
                if self._writers.get(number) is writer:
                    del self._writers[number]
        self._tasks.pop(number, None)
        self._write(framed(DATAGRAM, bytes((number, CLOSE))))
