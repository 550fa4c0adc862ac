"""A light board with a Bluetooth radio: the shared protocol in the test's own process, in simulated air.

It speaks to the air as firmware/sim/micropython/bluetooth.py does, and says nothing before somebody wrote to it.
"""

import asyncio
import os
import socket
import struct

from meuse.links.ble import RX, SERVICE, TX

from tests.air import ADVERTISE, CONNECT_IRQ, GONE_IRQ, NOTIFY, SERVE, WIDTH, WIDTH_IRQ, WRITE_IRQ, Air
from tests.host.light_board import LightBoard


class AirBoard:
    """`board`: the light board; without a key nobody believes it. `name`: what it advertises.
    `silent`: the light board says nothing, only the test does."""

    def __init__(self, air: Air, name: str, key: bytes | None, silent: bool = False) -> None:
        self.board = LightBoard(name, key)
        self.radio = air.radio()
        self.got = b""  # what was written to it
        self._socket = self.radio.there
        self._socket.setblocking(False)
        self._name = name.encode()[:29]
        self._silent = silent
        self._in = b""
        self._conn = 0
        self._width = 23
        self._cable: socket.socket | None = None
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        self._tell(WIDTH, struct.pack("<H", 247))
        for handle, (uuid, flags) in enumerate(((TX, 0x10), (RX, 0x0C))):
            self._tell(SERVE, bytes((handle, flags)) + f"{SERVICE} {uuid}".encode())
        self.advertise()

    def advertise(self) -> None:
        told = b"\2\1\6\x11\7" + bytes.fromhex(SERVICE.replace("-", ""))[::-1]
        self._tell(ADVERTISE, bytes((len(told),)) + told + bytes((len(self._name) + 1, 8)) + self._name)

    def notify(self, data: bytes) -> None:
        self._tell(NOTIFY, struct.pack("<HH", self._conn, 0) + data)

    def close(self) -> None:
        self._unplug()
        asyncio.get_running_loop().remove_reader(self._socket)

    def _tell(self, op: int, payload: bytes) -> None:
        self._socket.send(struct.pack("<BH", op, len(payload)) + payload)

    def _readable(self) -> None:
        self._in += self._socket.recv(65536)
        while len(self._in) >= 3:
            event, size = struct.unpack("<BH", self._in[:3])
            payload, self._in = self._in[3 : 3 + size], self._in[3 + size :]
            self._happened(event, payload)

    def _happened(self, event: int, payload: bytes) -> None:
        if event == CONNECT_IRQ:
            self._conn, self._width = struct.unpack("<H", payload[:2])[0], 23
        elif event == WIDTH_IRQ:
            (self._width,) = struct.unpack("<H", payload[2:4])
        elif event == GONE_IRQ:
            self._unplug()
            self.advertise()
        elif event == WRITE_IRQ:
            self.got += payload[4:]
            if self._cable is None and not self._silent:
                self._plug()
            elif self._cable is not None:
                self._cable.send(payload[4:])

    def _plug(self) -> None:
        self._cable, far = socket.socketpair()
        self._far = far
        self._cable.setblocking(False)
        asyncio.get_running_loop().add_reader(self._cable, self._said)
        self.board.plug(far.fileno())

    def _said(self) -> None:
        assert self._cable is not None
        data = os.read(self._cable.fileno(), 4096)
        while data:
            self.notify(data[: self._width - 3])
            data = data[self._width - 3 :]

    def _unplug(self) -> None:
        if self._cable is not None:
            self.board.unplug()
            asyncio.get_running_loop().remove_reader(self._cable)
            self._cable.close()
            self._far.close()
            self._cable = None
