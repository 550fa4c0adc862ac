"""The board's wires seen from the world: pins, 1-Wire lines, I2C and SPI buses, and who hangs on them.

Owns levels, interrupts and addressing; what a device answers is the device's own. A bus fails as on a real port:
ENODEV where nobody acknowledges, ETIMEDOUT after the port's 50 ms where a line is held.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Protocol

from .devices.onewire import OneWireDevice
from .wires import BusError

BUS_TIMEOUT_S = 0.05  # default `timeout=` of machine.I2C
PULL_UP = 1
RISING, FALLING = 1, 2


class I2cDevice(Protocol):
    """A slave; `stuck` means that it holds the bus."""

    address: int

    def present(self) -> bool: ...
    def stuck(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def read(self, size: int) -> bytes: ...


class SpiDevice(Protocol):
    """A slave with its own chip select; `selected` is called when that falls."""

    cs: int

    def selected(self) -> None: ...
    def exchange(self, data: bytes) -> bytes: ...


class Pins:
    """Levels of the board's pins. A level that nobody drives is that of its pull, else 0."""

    def __init__(self, fire: Callable[[int, int, int], None]) -> None:
        self._fire = fire
        self._driven: dict[int, int] = {}  # by the world
        self._pulls: dict[int, int] = {}
        self._triggers: dict[int, int] = {}
        self.outputs: dict[int, int] = {}  # by the board
        self.switched: dict[int, int] = {}  # how often the board has driven it from 0 to 1
        self.readers: dict[int, Callable[[], int]] = {}  # who answers a read itself
        self.watchers: dict[int, Callable[[int], None]] = {}  # who is told of the board's output
        self.observers: dict[int, Callable[[], None]] = {}  # who notes that the board looked

    def forget_board(self) -> None:
        """The board lost its supply or was reset: pins float, no interrupt is armed."""
        self._triggers.clear()
        self._pulls.clear()
        self.outputs.clear()

    def mode(self, pin: int, mode: int, pull: int) -> None:
        self._pulls[pin] = pull

    def armed(self, pin: int) -> bool:
        return bool(self._triggers.get(pin))

    def read(self, pin: int, in_handler: bool) -> int:
        """`in_handler`: an interrupt handler looks, not whoever wants a reading."""
        if pin in self.observers and not in_handler:
            self.observers[pin]()
        if pin in self.readers:
            return self.readers[pin]()
        if pin in self._driven:
            return self._driven[pin]
        return self.outputs.get(pin, 1 if self._pulls.get(pin) == PULL_UP else 0)

    def write(self, pin: int, level: int) -> None:
        before = self.outputs.get(pin, 1)
        self.switched[pin] = self.switched.get(pin, 0) + (level > before)
        self.outputs[pin] = level
        if pin in self.watchers and level != before:
            self.watchers[pin](level)

    def arm(self, pin: int, trigger: int) -> None:
        self._triggers[pin] = trigger

    def drive(self, pin: int, levels: list[int]) -> None:
        """The world drives a pin through these levels as fast as a contact bounces; edges fire as armed."""
        fired = 0
        for level in levels:
            before, self._driven[pin] = self._driven.get(pin, level), level
            edge = RISING if level > before else FALLING if level < before else 0
            if self._triggers.get(pin, 0) & edge:
                fired += 1
        if fired:
            self._fire(pin, self._driven[pin], fired)


class OneWireLine:
    """A line with a pull-up: a slot's level is the lowest that anyone leaves."""

    def __init__(self, devices: Sequence[OneWireDevice]) -> None:
        self.devices = devices

    def _stuck(self) -> bool:
        return any(device.stuck() for device in self.devices)

    def reset(self) -> int:
        answers = [device.reset() for device in self.devices]
        return int(self._stuck() or any(answers))

    def read(self, count: int) -> int:
        return sum(self._read_slot() << i for i in range(count))

    def write(self, count: int, value: int) -> None:
        for i in range(count):
            for device in self.devices:
                device.write_slot(0 if self._stuck() else value >> i & 1)

    def _read_slot(self) -> int:
        levels = [device.read_slot() for device in self.devices]
        return 0 if self._stuck() else min(levels, default=1)


class I2cBus:
    """Open-drain bus with pull-ups; addresses are 7 bits."""

    def __init__(self, devices: list[I2cDevice]) -> None:
        self._devices = {device.address: device for device in devices}

    def write(self, address: int, data: bytes) -> int:
        """Number of bytes acknowledged."""
        self._addressed(address).write(data)
        return len(data)

    def read(self, address: int, size: int) -> bytes:
        return self._addressed(address).read(size)

    def _addressed(self, address: int) -> I2cDevice:
        if any(device.stuck() for device in self._devices.values()):
            raise BusError(errno.ETIMEDOUT, BUS_TIMEOUT_S)
        device = self._devices.get(address)
        if device is None or not device.present():
            raise BusError(errno.ENODEV)
        return device


class SpiBus:
    """Who is selected answers; nobody selected: the line's pull-up gives ones."""

    def __init__(self, devices: list[SpiDevice], pins: Pins) -> None:
        self._devices = devices
        self._pins = pins
        for device in devices:
            pins.watchers[device.cs] = self._select(device)

    def exchange(self, data: bytes) -> bytes:
        for device in self._devices:
            if self._pins.outputs.get(device.cs, 1) == 0:
                return device.exchange(data)
        return b"\xff" * len(data)

    @staticmethod
    def _select(device: SpiDevice) -> Callable[[int], None]:
        def told(level: int) -> None:
            if level == 0:
                device.selected()

        return told
