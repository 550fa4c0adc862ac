"""A contactor with an auxiliary contact: an output of the board is its coil, an input sees whether it has closed.

Simulated at the level of pins: it closes at once. The auxiliary contact closes to ground against the board's pull-up
when `closed_low`.
"""

from collections.abc import Callable

from ..buses import Pins


class Contactor:
    """`fault("stuck")` keeps it open whatever the coil does."""

    def __init__(self, coil: int, contact: int, closed_low: bool, fault: Callable[[str], bool]) -> None:
        self._coil = coil
        self._contact = contact
        self._closed_low = closed_low
        self._fault = fault

    def attach(self, pins: Pins) -> None:
        def level() -> int:
            closed = pins.outputs.get(self._coil, 0) == 1 and not self._fault("stuck")
            return int(closed) ^ int(self._closed_low)

        pins.readers[self._contact] = level
