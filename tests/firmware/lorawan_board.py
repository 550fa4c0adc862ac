"""A board with a LoRaWAN modem on the bench, and a network behind it: this test's host.

Simulated is the modem, by the dialogue of RAKwireless' RUI3 AT command manual, and with it radio and network: class A,
a downlink follows an uplink. Its time is made `SPEED` times faster, like the board's clock.
"""

import contextlib
import json
import random
import socket
import time
from binascii import hexlify, unhexlify
from pathlib import Path
from typing import Any

from meuse_protocol.host_endpoint import HostEndpoint

from tests.firmware.peer import Board
from tests.host.lorawan_network import Network, event

SPEED = 20
AIR_MS, WINDOW_MS = 300, 1200  # from the command to the end of the uplink, and to the windows


class Modem:
    """`limit`: bytes that the data rate carries. lose: each way, by a seed. Uplinks go to `network(bytes)`."""

    def __init__(self, lose: float) -> None:
        self.joined = False
        self.joins = True  # the network knows it
        self.limit = 51
        self.uplinks = self.downlinks = self.lost = 0
        self.refused: list[str] = []
        self.port: socket.socket | None = None
        self._lose = lose
        self._random = random.Random(8)
        self._in = b""
        self._later: list[tuple[int, str]] = []  # when, and what event

    def step(self, now: int, board: "LorawanBoard") -> None:
        assert self.port
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._in += self.port.recv(4096)
        while b"\r\n" in self._in:
            line, self._in = self._in.split(b"\r\n", 1)
            self._obey(line.decode(), now, board)
        while self._later and self._later[0][0] <= now:
            event = self._later.pop(0)[1]
            if event == "+EVT:JOINED":
                self.joined = True
            if event == "window":
                self._window(board)
            else:
                self._say(event)

    def _obey(self, line: str, now: int, board: "LorawanBoard") -> None:
        if line == "AT+NJS=?":
            self._say(f"AT+NJS={self.joined:d}", "", "OK")
        elif line.startswith("AT+JOIN=1:"):
            self._say("OK")
            self._later.append((now + 6000, "+EVT:JOINED" if self.joins else "+EVT:JOIN_FAILED_RX_TIMEOUT"))
        elif not line.startswith("AT+SEND="):
            self._refuse("AT_ERROR")
        elif not self.joined:
            self._refuse("AT_NO_NETWORK_JOINED")
        elif self._later:
            self._refuse("AT_BUSY_ERROR")
        else:
            self._send(line, now, board)

    def _send(self, line: str, now: int, board: "LorawanBoard") -> None:
        port, _, text = line.removeprefix("AT+SEND=").partition(":")
        packet = unhexlify(text)
        assert port == "77"
        if len(packet) > self.limit:
            self._refuse("AT_PARAM_ERROR")
            return
        self._say("OK")
        self.uplinks += 1
        if self._arrives():
            board.uplink(packet, now)
            self._later.append((now + AIR_MS + 1000, "window"))
        self._later.append((now + AIR_MS + WINDOW_MS, "+EVT:TX_DONE"))

    def _window(self, board: "LorawanBoard") -> None:
        packet = board.downlink()
        if packet is not None:
            assert len(packet) <= self.limit
            self.downlinks += 1
            if self._arrives():
                self._say(f"+EVT:RX_1:-70:8:UNICAST:77:{hexlify(packet).decode()}")

    def _arrives(self) -> bool:
        arrives = self._random.random() >= self._lose
        self.lost += not arrives
        return arrives

    def _refuse(self, status: str) -> None:
        self.refused.append(status)
        self._say(status)

    def _say(self, *lines: str) -> None:
        assert self.port
        with contextlib.suppress(OSError):
            self.port.send(("\r\n" + "\r\n".join(lines) + "\r\n").encode())


class LorawanBoard(Board):
    """A board whose first link is a LoRaWAN modem; its cable is a console."""

    def __init__(
        self, folder: Path, path: str, micropython: str, settings: dict[str, Any], lose: float = 0.0, **link: object
    ) -> None:
        first = {"kind": "lorawan", "uart": 1, "cost": 70, "carries": "all", "mac_bytes": 4, **link}
        console = {"kind": "uart", "uart": 0, "carries": "nothing"}
        super().__init__(folder, path, micropython, {**settings, "links": [first, console]})
        self.memory.key = bytes(range(32))
        (folder / "key").write_bytes(self.memory.key)
        (folder / "speed").write_text(str(SPEED))
        self.modem = Modem(lose)

    def start(self) -> "LorawanBoard":
        self.modem.port, there = map(self._own, socket.socketpair())
        self._ports["MEUSE_UART1"] = there
        super().start()
        there.close()
        return self

    def plug(self) -> None:
        super().plug()
        self.host = HostEndpoint(self.memory, mac_bytes=4, acks=(8, 3_600_000))

    def poll(self) -> None:
        self.values(flue=self.now_ms() // 1000 % 1000, water=4180)
        self.modem.step(self.now_ms(), self)
        super().poll()

    def uplink(self, packet: bytes, now: int) -> None:
        self.host.receive(packet, now, self.utc_ms)
        self._store(now)

    def downlink(self) -> bytes | None:
        return self.host.next_pdu(self.now_ms())

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000 * SPEED)

    @property
    def connected(self) -> bool:
        return False  # downlinks wait for a window


class ChirpstackBoard(LorawanBoard):
    """The same behind a network server: `network` publishes what the modem sends, and has what the host answers."""

    EUI = "ac1f09fffe000001"
    network: Network

    def uplink(self, packet: bytes, now: int) -> None:
        self.network.say(self.EUI, json.dumps(event(self.EUI, self.modem.uplinks, packet)).encode())

    def downlink(self) -> bytes | None:
        waiting = self.network.queue.get(self.EUI)
        return waiting.pop(0) if waiting else None
