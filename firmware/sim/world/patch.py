"""A cable from this board's UART 2 to another virtual board's serial port, which may come and go.

Simulated. Owns both directions; the pace is the other board's cable. While that port is not there, or its plug is out,
what is sent is lost.
"""

import asyncio
import contextlib
import os
import socket
import tty
from pathlib import Path

UART = 2
LOOK_S = 0.2  # how soon a port that came is noticed
CHUNK_BYTES = 256


class Patch:
    """`there`: the other board's port, a link to a terminal; None: no such cable."""

    def __init__(self, there: Path | None) -> None:
        self._there = there
        self._ends = socket.socketpair() if there else None
        self._task: asyncio.Task[None] | None = None
        self._terminal: int | None = None
        for end in self._ends or ():
            end.setblocking(False)

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        return ((UART, self._ends[1].fileno()),) if self._ends else ()

    def begin(self) -> None:
        """In an event loop."""
        if self._there and self._ends:
            self._task = asyncio.create_task(self._carry(self._there, self._ends[0]))

    async def end(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        for end in self._ends or ():
            end.close()

    async def _carry(self, there: Path, board: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(board, self._from_board, board)
        try:
            while True:
                with contextlib.suppress(OSError):
                    self._terminal = os.open(there, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                    tty.setraw(self._terminal)
                    await self._from_terminal(self._terminal, board)
                if self._terminal is not None:
                    os.close(self._terminal)
                    self._terminal = None
                await asyncio.sleep(LOOK_S)
        finally:
            loop.remove_reader(board)
            if self._terminal is not None:
                os.close(self._terminal)

    def _from_board(self, board: socket.socket) -> None:
        data = board.recv(CHUNK_BYTES)
        with contextlib.suppress(OSError):
            if self._terminal is not None:
                os.write(self._terminal, data)

    async def _from_terminal(self, terminal: int, board: socket.socket) -> None:
        """Until the plug is out."""
        loop = asyncio.get_running_loop()
        while True:
            came = asyncio.Event()
            loop.add_reader(terminal, came.set)
            try:
                await came.wait()
            finally:
                loop.remove_reader(terminal)
            data = os.read(terminal, CHUNK_BYTES)
            if not data:
                return
            with contextlib.suppress(BlockingIOError):
                board.send(data)
