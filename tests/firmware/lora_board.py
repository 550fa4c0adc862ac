"""A board with a LoRa radio on the bench, and a gateway beside it: this test's host behind the same link.

Simulated are both chips, at register level, and the air, in real time made `SPEED` times faster, like the board's
clock. The board's chip is served by a thread: its SPI waits for each answer.
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from meuse_board.links.lora import Link
from meuse_protocol.messages import head
from sim.world.buses import Pins, SpiBus
from sim.world.devices.sx127x import Air, Sx127x

from tests.firmware.peer import Board

SPEED = 10
BOARD_CS, GATEWAY_CS = 99, 1


class Chip:
    """A chip on a bus of its own, for one operation at a time; the air is shared by threads."""

    def __init__(self, cs: int, air: Air, lock: threading.Lock) -> None:
        self.radio = Sx127x(cs, air)
        self._pins = Pins(lambda pins: None)
        self._bus = SpiBus([self.radio], self._pins)
        self._lock = lock

    def bus(self, name: str) -> "Chip":
        return self

    def output(self, number: int) -> Callable[[int], None]:
        return partial(self.select, number)

    def select(self, cs: int, level: int) -> None:
        with self._lock:
            self._pins.write(cs, level)

    def read(self, size: int) -> bytes:
        with self._lock:
            return self._bus.exchange(bytes(size))

    def write(self, data: bytes) -> None:
        with self._lock:
            self._bus.exchange(data)

    def serve(self, port: socket.socket) -> None:
        """The board's operations, as tests/firmware/bench_board says them, until its process ends."""
        with contextlib.suppress(OSError), port.makefile("rb") as operations:
            while (head := operations.read(2)):
                if head[0] == 0:
                    self.write(operations.read(head[1]))
                elif head[0] == 1:
                    port.sendall(self.read(head[1]))
                else:
                    self.select(BOARD_CS, head[1])


class LoraBoard(Board):
    """A board whose first link is LoRa; its cable is a console. `air`: what is lost, and what was."""

    def __init__(
        self, folder: Path, path: str, micropython: str, settings: dict[str, Any], lose: float = 0.0, **link: object
    ) -> None:
        first = {"kind": "lora", "bus": "radio", "cs": BOARD_CS, "cost": 60, "carries": "all", **link}
        console = {"kind": "uart", "uart": 0, "carries": "nothing"}
        super().__init__(folder, path, micropython, {**settings, "links": [first, console]})
        self.memory.key = bytes(range(32))
        (folder / "key").write_bytes(self.memory.key)
        (folder / "speed").write_text(str(SPEED))
        self.air = Air(lambda: time.monotonic() * 1e6 * SPEED, seed=3, lose=lose, damage=lose / 4)
        lock = threading.Lock()
        self._chip, gateway = Chip(BOARD_CS, self.air, lock), Chip(GATEWAY_CS, self.air, lock)
        chance = random.Random(4)
        settings = {"bus": "radio", "cs": GATEWAY_CS, "device": "gateway", "duty_permille": 100, **link}
        self.gateway = Link(settings, gateway, lambda: chance.getrandbits(32))
        self.gateway.open(self.now_ms())

    @property
    def chip(self) -> Sx127x:
        return self._chip.radio

    def start(self) -> "LoraBoard":
        here, there = map(self._own, socket.socketpair())
        for end in (here, there):
            end.setblocking(True)
        self._ports["MEUSE_SPI"] = there
        threading.Thread(target=self._chip.serve, args=(here,), daemon=True).start()
        super().start()
        there.close()
        return self

    def poll(self) -> None:
        now = self.now_ms()
        self.values(flue=now // 1000 % 1000, water=4180)
        while (packet := self.gateway.receive(now)) is not None:
            self.kinds.append(head(packet)[0])
            self.host.receive(packet, now, self.utc_ms)
        super().poll()

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000 * SPEED)

    def answer(self, e2e: bytes) -> None:
        self.gateway.send(e2e, self.now_ms())

    @property
    def connected(self) -> bool:
        return self.gateway.up and self.gateway.room(self.now_ms())
