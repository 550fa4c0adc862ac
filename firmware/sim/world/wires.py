"""The world's end of the wires: takes one bus operation at a time from the board and answers it.

Owns the messages and their order (firmware/sim/micropython/wires.py is the other end and describes them); knows
nothing of what an operation means. Pin interrupts are paced: the next batch of edges is sent when the board has
taken the last one, because a process that the operating system has paused is no stalled microcontroller.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

PIN_MODE, PIN_READ, PIN_WRITE, PIN_IRQ, I2C_WRITE, I2C_READ, EXCHANGE, OW_RESET = 1, 2, 3, 4, 5, 6, 7, 8
OW_READ, OW_WRITE, FEED, RESET, CAUSE, IDENTITY, NETWORK, NOTE, TAKEN = 9, 10, 11, 12, 13, 14, 15, 16, 17
EDGES, STOP = 128, 129
UNANSWERED = (PIN_WRITE, OW_WRITE, FEED, NOTE)


class BusError(Exception):
    """An operation that fails as it fails on a real port: with an errno, after the time that the port takes."""

    def __init__(self, errno: int, after_s: float = 0.0) -> None:
        super().__init__(errno)
        self.errno = errno
        self.after_s = after_s


class Wires:
    """`operate(op, payload)` does an operation and returns its answer (up to 255 bytes) or raises BusError."""

    def __init__(self, sock: socket.socket, operate: Callable[[int, bytes], bytes]) -> None:
        self._sock = sock
        self._operate = operate
        self._buffer = b""
        self._edges_out = False
        self.operations = 0
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    @property
    def edges_taken(self) -> bool:
        """Whether the board has handled the last edges that it was sent."""
        return not self._edges_out

    def edges(self, pin: int, level: int, times: int) -> None:
        """Fires the pin's interrupt so many times at once; it is at `level` then."""
        self._edges_out = True
        self._send(EDGES, bytes((pin, level, times)))

    def stop(self) -> None:
        """Asks the board's start script to end the application: no wire does that on a real board."""
        self._send(STOP, b"")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(4096)
        except (BlockingIOError, ConnectionError):
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._sock)
            return
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + self._buffer[1]:
            op, size = self._buffer[0], self._buffer[1]
            payload = self._buffer[2 : 2 + size]
            self._buffer = self._buffer[2 + size :]
            self._answer(op, payload)

    def _answer(self, op: int, payload: bytes) -> None:
        if op == TAKEN:
            self._edges_out = False
            return
        self.operations += 1
        try:
            answer = self._operate(op, payload)
            if op not in UNANSWERED:
                self._send(0, answer)
        except BusError as e:
            if e.after_s:
                asyncio.get_running_loop().call_later(e.after_s, self._send, e.errno, b"")
            else:
                self._send(e.errno, b"")

    def _send(self, kind: int, data: bytes) -> None:
        # A board without supply hears nothing; whoever watches the child says so.
        with contextlib.suppress(OSError):
            self._sock.send(bytes((kind, len(data))) + data)
