"""One board and everything around it, wired: the simulator's composition root.

Owns the life of the whole: the folder's lock, the scenario's clock across restarts, who is started and ended in
which order, and what the control commands do.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .board import STOP_S, Board
from .cable import Cable
from .clock import WorldClock
from .control import COMMANDS, Control
from .devices.stove import Stove
from .devices.sx127x import Sx127x
from .ether import Ether
from .faults import Faults
from .hardware import Hardware, Parts
from .mobile import Mobile
from .patch import Patch
from .processor import Image
from .scenario import Scenario
from .served import Served

RADIO_BUS, RADIO_CS = 2, 80  # as firmware/product.py gives it to links that stand in for a product's own

# A world whose host was killed lets its board send what it can first.
LOCK_WAIT_S = STOP_S + 5.0
LIVE_S = 0.02  # between two looks of the physics at the board's outputs


class InUse(Exception):
    """Another world plays this board."""


@dataclass(frozen=True)
class Setting:
    """What differs from run to run."""

    folder: Path
    device: str
    image: Image
    speed: Fraction


def lock(folder: Path) -> int:
    """The folder's lock as an open file; one board, one world. Goes with the last process that holds it."""
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    deadline = time.monotonic() + LOCK_WAIT_S
    told = False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise InUse(f"{folder}: another virtual board runs here; stop it first") from None
            if not told:
                print("waiting for the last run's board to end", flush=True)
                told = True
            time.sleep(0.05)


def world_clock(folder: Path, scenario: Scenario, speed: Fraction) -> WorldClock:
    """The scenario goes on where it would be had the world never stopped."""
    path = folder / "world.json"
    began = {"at": time.time(), "scenario_s": scenario.start_s}
    if path.exists():
        began = json.loads(path.read_text())
    clock = WorldClock(began["at"] - began["scenario_s"] / float(speed), float(speed))
    path.write_text(json.dumps({"at": time.time(), "scenario_s": clock.scenario_s()}))
    return clock


class World:
    def __init__(self, scenario: Scenario, setting: Setting, lock_fd: int, mobile: Mobile, patch: Patch) -> None:
        self._mobile, self._patch = mobile, patch
        self._ether: Ether | None = None
        self._name = setting.device
        folder = self._folder = setting.folder
        self._clock = world_clock(folder, scenario, setting.speed)
        self._served = Served(folder / "served.jsonl", setting.device)
        self._faults = Faults(list(scenario.faults), self._clock)
        self._cable = Cable(folder / "tty", scenario.baud)
        unique_id = hashlib.sha256(setting.device.encode()).digest()[:6]
        self._board = Board(folder, setting.image, unique_id, self._cable, lock_fd)
        parts = Parts(scenario, self._clock, self._served, self._faults)
        self._hardware = Hardware(scenario.devices, parts, self._board.fire, lambda: self._board.powered)
        self._board.surround(self._hardware)
        self._control = Control(folder, self._handle)

    def put_on_air(self) -> None:
        """A LoRa radio on the board, which hears those of the boards in the folders beside this one's."""
        self._ether = Ether(self._folder.parent / "air", self._name)
        self._hardware.add_spi(RADIO_BUS, Sx127x(RADIO_CS, self._ether))

    def stop(self) -> None:
        """As SIGTERM does: the board flushes, sends what is left and ends."""
        self._board.stop()

    async def run(self) -> int:
        """Until SIGTERM, SIGINT or the command "stop"; the exit status of the board's last process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._control.open()
        self._mobile.begin()
        self._patch.begin()
        playing = [asyncio.create_task(self._cable.carry())]
        for meter in self._hardware.meters.values():
            play = meter.play(self._hardware.pins, self._board.edges_taken)
            playing.append(asyncio.create_task(play))
        if self._hardware.stove:
            playing.append(asyncio.create_task(self._live(self._hardware.stove)))
        try:
            return await self._board.run()
        finally:
            for task in playing:
                task.cancel()
            await asyncio.gather(*playing, return_exceptions=True)
            await self._mobile.end()
            await self._patch.end()
            if self._ether:
                self._ether.close()
            self._control.close()
            self._cable.unplug()
            self._served.close()

    async def _live(self, stove: Stove) -> None:
        """Physics goes on while nobody measures."""
        while True:
            stove.advance(self._clock.scenario_s())
            await asyncio.sleep(LIVE_S)

    def _handle(self, command: dict[str, object]) -> dict[str, object]:
        what = command.get("do")
        known: dict[str, Callable[[], None]] = {
            "unplug": self._cable.unplug,
            "replug": self._cable.plug_in,
            "kill": self._board.reset,
            "on": lambda: self._board.power(True),
            "off": lambda: self._board.power(False),
            "stop": self._board.stop,
            "noise": lambda: self._noise(command),
            "network": lambda: self._network(command),
            "modem": lambda: self._mobile.power(bool(command.get("on", True))),
            "fault": lambda: self._fault(command),
            "air": lambda: self._air(command),
            "trap": lambda: self._trap(command),
        }
        if what == "status":
            return self._status()
        if what not in known:
            raise ValueError(f"`do` is one of {', '.join(COMMANDS)}; not {what!r}")
        known[str(what)]()
        return {}

    def _noise(self, command: dict[str, object]) -> None:
        count, to, seed = command.get("bytes"), command.get("to", "host"), command.get("seed", 0)
        if not isinstance(count, int) or not 0 < count <= 65536 or to not in ("host", "board"):
            raise ValueError('noise has "bytes" from 1 to 65536 and "to": "host" or "board"')
        self._cable.noise(count, str(to), int(str(seed)))

    def _network(self, command: dict[str, object]) -> None:
        self._board.network = bool(command.get("on", True))
        self._mobile.network(self._board.network)

    def _air(self, command: dict[str, object]) -> None:
        """Whether the board's radio hears everything, or loses every other packet."""
        if self._ether:
            self._ether.lose = 0.0 if command.get("on", True) else 0.5

    def _trap(self, command: dict[str, object]) -> None:
        """Power fails the moment the board drives this pin high, once."""
        pin = command.get("pin")
        if not isinstance(pin, int):
            raise ValueError('a trap has a "pin"')
        watchers = self._hardware.pins.watchers

        def cut(level: int) -> None:
            if level:
                del watchers[pin]
                self._board.reset()

        watchers[pin] = cut

    def _fault(self, command: dict[str, object]) -> None:
        on = command.get("on")
        if not (on is None or isinstance(on, bool)):
            raise ValueError('"on" is true, false, or null for the scenario\'s own window')
        self._faults.switch(str(command.get("name")), on)

    def _status(self) -> dict[str, object]:
        board, cable = self._board, self._cable
        return {
            "pid": board.pid,
            "powered": board.powered,
            "starts": board.starts,
            "resets": board.resets,
            "watchdog_bites": board.watchdog_bites,
            "crashes": board.crashes,
            "plugged": cable.plugged,
            "to_host_bytes": cable.to_host,
            "to_board_bytes": cable.to_board,
            "lost_bytes": cable.lost,
            "noise_bytes": cable.noise_bytes,
            "served": self._served.lines,
            "modem": self._mobile.status(),
            "air": {"sent": self._ether.sent, "heard": self._ether.heard} if self._ether else {},
            "scenario_s": self._clock.scenario_s(),
            "faults": self._faults.names,
            "faults_active": self._faults.active_names(),
            "switched": {str(pin): count for pin, count in self._hardware.pins.switched.items()},
            "outputs": {str(pin): level for pin, level in self._hardware.pins.outputs.items()},
            "lost_pulses": {n: m.lost for n, m in self._hardware.meters.items()},
            "skipped_pulses": {n: m.skipped for n, m in self._hardware.meters.items()},
        }
