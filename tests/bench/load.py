"""Light boards in a process of their own: they know HELLO, WELCOME, ACK and the window, and nothing else.

Everything that is sent is packed before the clock starts, so that the host is what is measured. A light
board never retransmits: its wire (loopback, pty) loses nothing, and a frame that stays unacknowledged
ends the run with an error.

    python load.py PLAN.json     # {"address", "devices": [{"device", "key"}], "frames", "rows", "trace"}

Prints one JSON line: readings, seconds from the first frame to the last acknowledgement, ACK latencies.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from pathlib import Path

from meuse_protocol import auth, cobs, columns, framing, messages
from meuse_protocol.schema import Schema

WINDOW = 32  # frames in flight, as a board on TCP has
MAC_BYTES = 8
GIVE_UP_S = 60


def rows_of(trace: Path) -> tuple[list[str], list[int], list[list[int]]]:
    """(names and units, times, rows of scaled ints) of a trace with a header `channel[unit;decimals]`."""
    lines = trace.read_text().splitlines()
    heads = lines[0].split(",")[1:]
    decimals = [int(head.split(";")[1].rstrip("]")) for head in heads]
    times, rows = [], []
    for line in lines[1:]:
        time_s, *cells = line.split(",")
        times.append(int(time_s))
        rows.append([round(float(c) * 10**d) for c, d in zip(cells, decimals, strict=True)])
    return heads, times, rows


def schema_body(heads: list[str]) -> list[object]:
    """What follows seq in the SCHEMA of a trace."""
    channels = []
    for head in heads:
        name, rest = head.rstrip("]").split("[")
        unit, decimals = rest.split(";")
        channels.append((name, unit, -int(decimals), 0))
    return Schema(1, "bench", 1000, channels).to_body()


def records(trace: Path, count: int, rows_per_frame: int) -> list[bytes]:
    """`count` records, the first a SCHEMA; later days of the trace when one day is not enough."""
    heads, times, rows = rows_of(trace)
    made = [messages.record(messages.SCHEMA, 1, *schema_body(heads))]
    day = times[-1] - times[0] + 10
    for seq in range(2, count + 1):
        at = (seq - 2) * rows_per_frame
        which = [(at + i) % len(rows) for i in range(rows_per_frame)]
        when = [times[w] + (at + i) // len(rows) * day for i, w in enumerate(which)]
        if rows_per_frame == 1:
            body = columns.single(1, when[0], rows[which[0]])
            made.append(messages.record(messages.SINGLE, seq, *body))
        else:
            body = columns.encode(1, when, [list(rows[w]) for w in which])
            made.append(messages.record(messages.DATA, seq, *body))
    return made


class Board(asyncio.Protocol):
    """One light board on one connection; `finished` is set at the last acknowledgement."""

    def __init__(self, device: str, key: bytes, made: list[bytes]) -> None:
        self.stream = secrets.randbits(31) | 1 << 31
        up, _ = auth.direction_keys(key, self.stream)
        self.hello = self._wire(
            messages.record(messages.HELLO, messages.VERSION, 0, 1, len(made) + 1, 1024, WINDOW, device, [], 1),
            up,
        )
        self.wires = [self._wire(record, up) for record in made]
        self.sent = 0
        self.acked = 0
        self.sent_at = [0.0] * len(made)
        self.latencies: list[float] = []
        self.window = 0
        self.go = asyncio.Event()
        self.welcome = asyncio.Event()
        self.finished = asyncio.Event()
        self._rest = b""

    def _wire(self, record: bytes, up: tuple[bytes, bytes]) -> bytes:
        mac = auth.mac(up, auth.UP, self.stream, record, MAC_BYTES)
        return framing.frame(messages.splice(record, self.stream) + mac)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(b"\0" + self.hello)

    def start(self) -> None:
        self.go.set()
        self._send()

    def data_received(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(b"\0")
        for frame in frames:
            if frame:
                self._packet(cobs.decode(frame)[:-4])
        if self.go.is_set():
            self._send()

    def _packet(self, e2e: bytes) -> None:
        kind = messages.head(e2e)[0]
        if kind not in (messages.ACK, messages.WELCOME):
            return
        fields = messages.parse(e2e, MAC_BYTES).fields
        if kind == messages.WELCOME:
            self.window = min(WINDOW, fields[6])
            self.welcome.set()
            return
        now = time.perf_counter()
        if fields[3] is not None:
            self.window = min(WINDOW, fields[3])
        for seq in range(self.acked, min(fields[2] - 1, self.sent)):
            self.latencies.append(now - self.sent_at[seq])
        self.acked = max(self.acked, fields[2] - 1)
        if self.acked == len(self.wires):
            self.finished.set()

    def _send(self) -> None:
        until = min(len(self.wires), self.acked + self.window)
        if until > self.sent:
            self.transport.write(b"".join(self.wires[self.sent : until]))
            now = time.perf_counter()
            for seq in range(self.sent, until):
                self.sent_at[seq] = now
            self.sent = until


async def connect(address: str, board: Board) -> None:
    """`HOST:PORT` or the path of a file descriptor that is a pty's other side (`fd:N`)."""
    loop = asyncio.get_running_loop()
    if address.startswith("fd:"):
        number = int(address[3:])
        reader = os.fdopen(os.dup(number), "rb", 0)
        writer = os.fdopen(os.dup(number), "wb", 0)
        transport, _ = await loop.connect_write_pipe(asyncio.Protocol, writer)
        board.connection_made(transport)
        board.connection_made = lambda transport: None  # type: ignore[method-assign]
        await loop.connect_read_pipe(lambda: board, reader)
        return
    host, port = address.rsplit(":", 1)
    await loop.create_connection(lambda: board, host, int(port))


async def drive(plan: dict[str, object]) -> dict[str, object]:
    made = records(Path(str(plan["trace"])), int(str(plan["frames"])), int(str(plan["rows"])))
    devices: list[dict[str, str]] = plan["devices"]  # type: ignore[assignment]
    boards = [Board(d["device"], bytes.fromhex(d["key"]), made) for d in devices]
    async with asyncio.timeout(GIVE_UP_S):
        for board in boards:
            await connect(str(plan["address"]), board)
        for board in boards:
            await board.welcome.wait()
        began = time.perf_counter()
        for board in boards:
            board.start()
        for board in boards:
            await board.finished.wait()
        seconds = time.perf_counter() - began
    latencies = sorted(x for board in boards for x in board.latencies)
    return {
        "readings": (len(made) - 1) * int(str(plan["rows"])) * len(boards),
        "seconds": seconds,
        "ack_ms_median": 1000 * latencies[len(latencies) // 2],
        "ack_ms_99": 1000 * latencies[len(latencies) * 99 // 100],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.loads(Path(sys.argv[1]).read_text())))))
