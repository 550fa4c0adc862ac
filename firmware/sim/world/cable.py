"""The serial cable: a pseudo terminal that the host opens, and the board's UART on the other end.

Simulated. Owns the bytes between the two: their pace (10 bits a byte at the baud rate), noise, and the plug. While
nobody has the port open, or the plug is out, what is sent is lost, as on a real cable.
"""

import asyncio
import contextlib
import os
import random
import select
import socket
import tty
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 64  # bytes that travel at once: what a USB bridge packs together
LOOK_S = 0.05  # how soon an opened port is noticed


class Cable:
    """`path` becomes a symbolic link to the terminal, like a by-id name: it stays when the number changes."""

    def __init__(self, path: Path, baud: int) -> None:
        self._path = path
        self._byte_s = 10 / baud
        self._master: int | None = None
        self._board: socket.socket | None = None
        self._sending: asyncio.Task[None] | None = None
        self.to_host = self.to_board = self.lost = self.noise_bytes = 0
        self.plug_in()

    @property
    def plugged(self) -> bool:
        return self._master is not None

    def plug_in(self) -> None:
        if self._master is not None:
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        os.close(slave)
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(name)
        self._master = master

    def unplug(self) -> None:
        if self._master is not None:
            self._path.unlink(missing_ok=True)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._master)
            loop.remove_writer(self._master)
            os.close(self._master)
            self._master = None

    def board_on(self, uart: socket.socket) -> None:
        """The board's UART is there and may send."""
        uart.setblocking(False)
        self._board = uart
        self._sending = asyncio.create_task(self._up(uart))

    async def board_off(self) -> None:
        """The board's UART is gone, with what it still wanted to send."""
        if self._sending:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            self._sending = None
        if self._board:
            self._board.close()
            self._board = None

    def noise(self, count: int, to: str, seed: int) -> None:
        """`count` random bytes, the same for the same seed, on the line to "host" or to "board"."""
        data = random.Random(seed).randbytes(count)
        self.noise_bytes += count
        if to == "host":
            self._write_host(data)
        else:
            self._write_board(data)

    async def carry(self) -> None:
        """Takes what the host sends to the board, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._open():
                await asyncio.sleep(LOOK_S)
                continue
            data = self._read_host()
            if data:
                self._write_board(data)
                await asyncio.sleep(len(data) * self._byte_s)
            else:
                await self._ready(loop.add_reader, loop.remove_reader)

    async def _up(self, board: socket.socket) -> None:
        """Takes what the board sends to the host; a host that has the port open and does not read holds it back."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(board, CHUNK_BYTES):
            rest = data
            while rest := rest[self._write_host(rest) :]:
                await self._ready(loop.add_writer, loop.remove_writer)
            await asyncio.sleep(len(data) * self._byte_s)

    def _open(self) -> bool:
        """Whether a host has the port open."""
        if self._master is None:
            return False
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _read_host(self) -> bytes:
        with contextlib.suppress(OSError):
            if self._master is not None:
                return os.read(self._master, CHUNK_BYTES)
        return b""

    async def _ready(self, watch: Callable[[int, Callable[[], None]], None], forget: Callable[[int], bool]) -> None:
        """Waits until the terminal can be read or written, or the plug may have been pulled."""
        master, ready = self._master, asyncio.Event()
        if master is None:
            return
        watch(master, ready.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), LOOK_S)
        if master == self._master:
            forget(master)

    def _write_host(self, data: bytes) -> int:
        """Bytes that are done with: sent, or lost because nobody listens."""
        if self._master is None or not self._open():
            self.lost += len(data)
            return len(data)
        with contextlib.suppress(BlockingIOError, OSError):
            sent = os.write(self._master, data)
            self.to_host += sent
            return sent
        return 0

    def _write_board(self, data: bytes) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            if self._board:
                sent = self._board.send(data)
        self.to_board += sent
        self.lost += len(data) - sent
