"""The air between the LoRa radios of virtual boards that play side by side: each world tells the others what it sends.

Simulated, in real time: one process per world, all with the same clock (CLOCK_MONOTONIC). A packet goes to the others
as a datagram when it begins; whether a radio hears it, and what it meets, is for each world's own Air to find out.
"""

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path

from .devices.sx127x import Air, Packet, Sx127x

DATAGRAM_BYTES = 4096


class Far:
    """A radio of another world, of which only its packets are known."""

    cs = -1

    def left(self, packet: Packet) -> None:
        pass


class Ether(Air):
    """`folder`: shared by the worlds that hear each other; `name`: this one's."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(lambda: time.monotonic() * 1e6, seed=1)
        folder.mkdir(exist_ok=True)
        self._note = folder / name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("")  # a name of the system's choice, in no file system
        self._note.write_bytes(self._socket.getsockname())
        self.sent = self.heard = 0
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._note.unlink(missing_ok=True)
        self._socket.close()

    def begin(self, packet: Packet) -> None:
        super().begin(packet)
        if not isinstance(packet.sender, Sx127x):
            return
        self.sent += 1
        told = (packet.data.hex(), packet.settings, packet.crc, packet.symbol_us, packet.begin_us, packet.end_us)
        for note in self._note.parent.iterdir():
            if note != self._note:
                with contextlib.suppress(OSError):  # a world that ended without a word
                    self._socket.sendto(json.dumps(told).encode(), note.read_bytes())

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data, settings, *rest = json.loads(self._socket.recv(DATAGRAM_BYTES))
            self.heard += 1
            self.begin(Packet(Far(), bytes.fromhex(data), tuple(settings), *rest))  # type: ignore[arg-type]
