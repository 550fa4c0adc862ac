"""The air between boards and a host with Bluetooth: a simulated GATT layer, no radio anywhere.

Boards are processes that speak to it through firmware/sim/micropython/bluetooth.py. An Air has the names of the module
bleak that the host uses (BleakScanner, BleakClient), so it is given to the host's link in its place. Pieces that are
lost, both ways, come from one seed; time is the event loop's.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

ADVERTISE, NOTIFY, HANG_UP, WIDTH, SERVE = 1, 2, 3, 4, 5  # from a board
CONNECT_IRQ, GONE_IRQ, WRITE_IRQ, WIDTH_IRQ, TAKEN = 1, 2, 3, 21, 100  # to it
LEAST = 23  # ATT_MTU before anything was agreed upon
EVERY_S = 0.02  # between two advertisements


class AirError(Exception):
    """As bleak raises when something is not there."""


class Air:
    """loss: of 0 .. 1, both ways; mtu: what the host's adapter can do, 23 .. 517; interval_s: so long a notification is
    in the board's queue.

    `counts`: up, down (pieces that arrived), lost, connects, scans. `without`: why there is no adapter, or None.
    """

    def __init__(self, seed: int, loss: float = 0.0, mtu: int = 247, interval_s: float = 0.0075) -> None:
        self.interval_s = interval_s
        self.chance = random.Random(seed)
        self.loss = loss
        self.mtu = mtu
        self.without: Exception | None = None
        self.counts: Counter[str] = Counter()
        self.radios: list[Radio] = []

    def radio(self) -> "Radio":
        """One more board's; its process gets `there`."""
        self.radios.append(Radio(self, f"C0:FF:EE:00:00:{len(self.radios):02X}"))
        return self.radios[-1]

    def arrives(self, way: str) -> bool:
        arrives = self.chance.random() >= self.loss
        self.counts[way if arrives else "lost"] += 1
        return arrives

    def close(self) -> None:
        for radio in self.radios:
            radio.close()

    # -- what of bleak is here

    def BleakScanner(self, detection_callback: Callable[[Any, Any], None], service_uuids: list[str]) -> "Scanner":
        return Scanner(self, detection_callback, service_uuids)

    def BleakClient(
        self, device: Any, disconnected_callback: Callable[["Client"], None], *, timeout: float
    ) -> "Client":
        return Client(self, device.address, disconnected_callback)


class Radio:
    """A board's, as the air sees it: what it advertises, who is connected."""

    def __init__(self, air: Air, address: str) -> None:
        self.air = air
        self.address = address
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.name = ""
        self.uuids: list[str] = []
        self.advertises = False
        self.services: dict[str, tuple[int, int]] = {}  # characteristic -> handle, flags
        self.client: Client | None = None
        self.longest = 0  # bytes in a piece
        self.queued = self.queued_most = 0  # notifications that the board was not told of as gone
        self.cuts = False  # the next piece is the connection's last, and lost if it would end a frame
        self._most = LEAST
        self._conn = 0
        self._in = b""
        asyncio.get_running_loop().add_reader(self.here, self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.here)
        self.here.close()
        self.there.close()

    # -- the board's side

    def _readable(self) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = self.here.recv(65536)
        if not data:
            asyncio.get_running_loop().remove_reader(self.here)
            self.advertises = False
            self.cut()
            return
        self._in += data
        while len(self._in) >= 3:
            op, size = struct.unpack("<BH", self._in[:3])
            if len(self._in) < 3 + size:
                return
            payload, self._in = self._in[3 : 3 + size], self._in[3 + size :]
            self._told(op, payload)

    def _told(self, op: int, payload: bytes) -> None:
        if op == ADVERTISE:
            self._advertise(payload[1 : 1 + payload[0]], payload[1 + payload[0] :])
        elif op == SERVE:
            uuid = payload[2:].decode().split()[1]
            self.services[uuid] = payload[0], payload[1]
        elif op == WIDTH:
            (self._most,) = struct.unpack("<H", payload)
        elif op == HANG_UP:
            self.cut()
        elif op == NOTIFY:
            self.queued += 1
            self.queued_most = max(self.queued, self.queued_most)
            asyncio.get_running_loop().call_later(self.air.interval_s, self._taken, self._conn)
            if self.client is not None and struct.unpack("<H", payload[:2])[0] == self._conn:
                self._notify(self.client, payload[4:])

    def _advertise(self, advertisement: bytes, answer: bytes) -> None:
        """Bluetooth Core Specification Supplement, Part A: length, type, data; UUIDs least byte first."""
        found = dict([*elements(advertisement), *elements(answer)])
        assert found[1][0] & 6 == 6, "general discoverable, no classic Bluetooth"
        uuid = found[7][::-1].hex()
        self.uuids = ["-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))]
        self.name = found[9 if 9 in found else 8].decode()
        self.advertises = self.client is None

    def _notify(self, client: "Client", data: bytes) -> None:
        self.longest = max(self.longest, len(data))
        data = data[: self.width - 3]  # what is longer a stack cuts off
        if client.notified and self.air.arrives("up") and not (self.cuts and data.endswith(b"\0")):
            client.notified(None, bytearray(data))
        if self.cuts:
            self.cuts = False
            self.cut()

    def _taken(self, conn: int) -> None:
        if self.client is not None and conn == self._conn:
            self.queued -= 1
            self.tell(TAKEN)

    # -- the air's side

    def tell(self, event: int, number: int = 0, data: bytes = b"") -> None:
        payload = b"" if event == TAKEN else struct.pack("<HH", self._conn, number) + data
        with contextlib.suppress(OSError):
            self.here.send(struct.pack("<BH", event, len(payload)) + payload)

    def connect(self, client: "Client") -> None:
        self.advertises = False
        self._conn += 1
        self.queued = 0
        self.client = client
        self.width = min(self._most, self.air.mtu)
        self.tell(CONNECT_IRQ)
        if self.width > LEAST:
            self.tell(WIDTH_IRQ, self.width)
        self.air.counts["connects"] += 1

    def cut(self) -> None:
        """The connection is gone, and both sides notice."""
        client, self.client = self.client, None
        if client is not None:
            self.tell(GONE_IRQ)
            asyncio.get_running_loop().call_soon(client.disconnected, client)


def elements(data: bytes) -> list[tuple[int, bytes]]:
    assert len(data) <= 31
    found = []
    while data:
        size = data[0]
        found.append((data[1], data[2 : size + 1]))
        assert len(found[-1][1]) == size - 1
        data = data[size + 1 :]
    return found


class Scanner:
    """As bleak's."""

    def __init__(self, air: Air, heard: Callable[[Any, Any], None], uuids: list[str]) -> None:
        self._air = air
        self._heard = heard
        self._uuids = uuids
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        self._air.counts["scans"] += 1
        if self._air.without is not None:
            raise self._air.without
        self._look()

    async def stop(self) -> None:
        assert self._timer is not None
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)
        for radio in self._air.radios:
            if radio.advertises and set(radio.uuids) & set(self._uuids):
                device = SimpleNamespace(address=radio.address, name=radio.name)
                self._heard(device, SimpleNamespace(local_name=radio.name, service_uuids=radio.uuids))


class Client:
    """As bleak's."""

    def __init__(self, air: Air, address: str, disconnected: Callable[["Client"], None]) -> None:
        self._radio = next(radio for radio in air.radios if radio.address == address)
        self._air = air
        self.disconnected = disconnected
        self.notified: Callable[[Any, bytearray], None] | None = None

    async def connect(self) -> None:
        if not self._radio.advertises:
            raise AirError(f"Device with address {self._radio.address} was not found.")
        self._radio.connect(self)

    @property
    def services(self) -> "Client":
        return self

    def get_characteristic(self, uuid: str) -> Any:
        if uuid not in self._radio.services:
            return None
        size = self._radio.width - 3
        return SimpleNamespace(uuid=uuid, max_write_without_response_size=size)

    async def start_notify(self, uuid: str, callback: Callable[[Any, bytearray], None]) -> None:
        assert self._radio.services[uuid][1] & 0x10
        self.notified = callback

    async def write_gatt_char(self, characteristic: Any, data: bytes, response: bool) -> None:
        handle, flags = self._radio.services[characteristic.uuid]
        assert flags & (8 if response else 4) and len(data) <= self._radio.width - 3
        await asyncio.sleep(0)
        if self._radio.client is not self:
            raise AirError("Not connected")
        if response or self._air.arrives("down"):
            self._radio.tell(WRITE_IRQ, handle, data)

    async def disconnect(self) -> None:
        if self._radio.client is self:
            self._radio.cut()
