"""Contacts on pins: a quantity of small whole numbers, each pin one bit, lowest first.

A contact closes to ground against the board's pull-up when `closed_low`, so that bit 1 reads as level 0.
All bits of one number are those of the moment when the lowest was read: simulated, real contacts may change between.
"""

from collections.abc import Callable

from ..buses import Pins
from ..channel import Channel


class Switch:
    """`fault("stuck")` keeps every contact open."""

    def __init__(self, pins: list[int], channel: Channel, closed_low: bool, fault: Callable[[str], bool]) -> None:
        self.pins = pins
        self._channel = channel
        self._closed_low = closed_low
        self._fault = fault
        self._truth = channel.now()

    def attach(self, pins: Pins) -> None:
        for bit, pin in enumerate(self.pins):
            pins.readers[pin] = self._reader(bit)

    def _reader(self, bit: int) -> Callable[[], int]:
        def level() -> int:
            if bit == 0:
                self._truth = self._channel.now()
            number = 0 if self._fault("stuck") else int(self._truth.value)
            if bit == len(self.pins) - 1:
                self._channel.serve(number, self._truth.value * 0 + number, self._truth)
            return (number >> bit & 1) ^ int(self._closed_low)

        return level
