"""The example stove on a bench whose time is the board's own: the real firmware on real MicroPython in lockstep with
the simulated stove, register by register. Nothing here waits for a clock, so nothing depends on how fast a machine is.
"""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import product
from meuse_protocol.commands import ACCEPTED
from meuse_protocol.msgpack import pack, unpack

from .virtual import ROOT  # puts firmware/sim on the path

EXAMPLE = ROOT / "firmware/examples/stove"

from examples.stove import table  # noqa: E402
from world import wires as op  # noqa: E402
from world.faults import Faults  # noqa: E402
from world.hardware import Hardware, Parts  # noqa: E402
from world.scenario import read  # noqa: E402
from world.served import Served  # noqa: E402
from world.wires import BusError  # noqa: E402

IGNITER, AUGER, FAN, TURNS = 25, 26, 27, 15
PULSE_MS = 50
NOTHING = b"\0"
HEAP = "512k"  # the compiled modules lie in it, where a board has them in ROM


class Clock:
    """Virtual: seconds of the world are those that the board lives."""

    speed = 1.0
    now_s = 0.0

    def real_s(self) -> float:
        return self.now_s

    steady_s = scenario_s = real_s


class StoveBench:
    """`path`: MICROPYPATH with the firmware and stove_time; starts with `start`, is cut off with `cut`."""

    def __init__(self, folder: Path, micropython: str, path: str) -> None:
        self.folder = folder
        self.clock = Clock()
        scenario = read(EXAMPLE / "scenario.toml")
        self.faults = Faults(list(scenario.faults), self.clock)  # type: ignore[arg-type]
        self.powered = True
        self._served = Served(folder / "served.jsonl", "stove")
        parts = Parts(scenario, self.clock, self._served, self.faults)  # type: ignore[arg-type]
        self.hardware = Hardware(scenario.devices, parts, self._fire, lambda: self.powered)
        assert self.hardware.stove
        self.stove = self.hardware.stove
        self.state = self.cause = 255
        self.said: list[str] = []
        self.results: dict[int, tuple[int, Any]] = {}
        self.pins_at_start: list[tuple[int, int]] = []  # the first level of each output
        self.watch: Callable[[], None] = lambda: None  # called in every step of the world
        self._words = [micropython, "-X", f"heapsize={HEAP}", "-m", "stove_time", str(folder), str(folder / "flash")]
        self._environment = {**os.environ, "MICROPYPATH": path, "MEUSE_UART1": str(os.open("/dev/null", os.O_RDWR))}
        self._began_ms = 0.0
        self._played = 0
        self._opens_ms = -1.0
        self._ask = NOTHING
        self.cid = 0
        slower = (EXAMPLE / "product.toml").read_text().replace('period = "250ms"', 'period = "500ms"')
        slower = slower.replace('period = "2s"', 'period = "5s"')  # half the operations on the wires
        (folder / "product.toml").write_text(slower)
        (folder / "config.msgpack").write_bytes(product.compile_product(folder / "product.toml"))
        (folder / "secret.bin").write_bytes(product.secret("stove-1", bytes(32)))
        self._process: subprocess.Popen[bytes] | None = None

    # -- power

    def start(self) -> "StoveBench":
        here, there = socket.socketpair()
        self._socket, self._buffer = here, b""
        environment = {**self._environment, "MEUSE_WIRES": str(there.fileno())}
        fds = (there.fileno(), int(environment["MEUSE_UART1"]))
        with (self.folder / "board.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._words, env=environment, pass_fds=fds, stdout=log, stderr=log, cwd=self.folder
            )
        there.close()
        self._began_ms = self.clock.now_s * 1000
        self.state = 255
        self.pins_at_start = []
        return self

    def cut(self) -> None:
        """SIGKILL, as a power cut of the processor; relays fall off."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._socket.close()
            self._process = None
            self.hardware.forget_board()

    def __enter__(self) -> "StoveBench":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._served.close()
        os.close(int(self._environment["MEUSE_UART1"]))

    # -- what a test does

    def fault(self, name: str, on: bool = True) -> None:
        self.faults.switch(name, on)

    def until(self, what: Callable[[], bool], limit_s: float) -> float:
        """Lives until `what()`; how many seconds that took. AssertionError after `limit_s` of the stove's life."""
        began_s = self.clock.now_s
        while not what():
            took_s = self.clock.now_s - began_s
            assert took_s <= limit_s, f"{self.name} after {took_s:.0f} s, flue {self.stove.flue:.0f}: {self.said[-3:]}"
            self._operation()
        return self.clock.now_s - began_s

    def reach(self, state: int, limit_s: float = 900) -> float:
        return self.until(lambda: self.state == state, limit_s)

    def live(self, seconds: float) -> None:
        end_s = self.clock.now_s + seconds
        self.until(lambda: self.clock.now_s >= end_s, seconds + 1)

    def command(self, name: str, *arg: Any) -> tuple[int, Any]:
        """(code, value) of its result; a dangerous one that is prepared is confirmed."""
        code, value = self.command_once(name, *arg)
        if code == ACCEPTED:
            return self.command_once("commit", "cid", self.cid, "token", value[0])
        return code, value

    def command_once(self, name: str, *arg: Any) -> tuple[int, Any]:
        self.cid += 1
        self.send(self.cid, name, *arg)
        self.until(lambda: self.cid in self.results, 10)
        return self.results[self.cid]

    def send(self, cid: int, name: str, *arg: Any) -> None:
        """Without waiting for a result."""
        self._ask = pack([cid, name, list(arg)])
        self.until(lambda: self._ask == NOTHING, 10)

    @property
    def name(self) -> str:
        return table.STATES[self.state] if self.state < len(table.STATES) else "starting"

    def driven(self) -> tuple[int, int, int]:
        """(igniter, fan, auger) as the board drives them; -1: not at all."""
        outputs = self.hardware.pins.outputs
        return outputs.get(IGNITER, -1), outputs.get(FAN, -1), outputs.get(AUGER, -1)

    # -- the wires

    def _operation(self) -> None:
        head = self._exactly(2)
        payload = self._exactly(head[1])
        if head[0] == op.NETWORK and payload:
            self._tick(payload)
        elif head[0] == op.NOTE:
            self._note(payload)
        elif head[0] == op.CAUSE:
            self._send(0, b"\1")
        elif head[0] == op.IDENTITY:
            self._send(0, bytes(6))
        elif head[0] not in (op.FEED, op.TAKEN, op.NETWORK):
            self._bus(head[0], payload)
        elif head[0] == op.NETWORK:
            self._send(0, b"\1")

    def _bus(self, code: int, payload: bytes) -> None:
        fresh = payload[:1] not in [bytes((pin,)) for pin, _ in self.pins_at_start]
        if code == op.PIN_WRITE and payload[0] in (IGNITER, FAN, AUGER) and fresh:
            self.pins_at_start.append((payload[0], payload[1]))
        try:
            answer = self.hardware.operate(code, payload)
            if code not in op.UNANSWERED:
                self._send(0, answer)
        except BusError as e:
            self._send(e.errno, b"")

    def _tick(self, payload: bytes) -> None:
        """The board has come to another moment of its life."""
        self.clock.now_s = (self._began_ms + int.from_bytes(payload[:4], "big")) / 1000
        self.state, self.cause = payload[4], payload[5]
        self.stove.advance(self.clock.now_s)
        self._contact()
        self.watch()
        ask, self._ask = self._ask, NOTHING
        self._send(0, ask)

    def _contact(self) -> None:
        """The auger's contact closes for a moment in each turn."""
        now_ms, pins = self.clock.now_s * 1000, self.hardware.pins
        if 0 <= self._opens_ms <= now_ms:
            self._opens_ms = -1
            pins.drive(TURNS, [1])
        elif self._opens_ms < 0 and int(self.stove.turns) > self._played:
            self._played += 1
            self._opens_ms = now_ms + PULSE_MS
            pins.drive(TURNS, [0])

    def _note(self, payload: bytes) -> None:
        is_result, *body = unpack(payload)
        if is_result:
            self.results[body[0]] = (body[1], body[2])
        else:
            self.said.append(bytes(body[2]).decode())

    def _fire(self, pin: int, level: int, times: int) -> None:
        self._send(op.EDGES, bytes((pin, level, times)))

    def _send(self, kind: int, data: bytes) -> None:
        self._socket.sendall(bytes((kind, len(data))) + data)

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            part = self._socket.recv(4096)
            assert part, (self.folder / "board.log").read_text()
            self._buffer += part
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
