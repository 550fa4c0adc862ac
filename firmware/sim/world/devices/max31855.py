"""MAX31855K thermocouple converter: one 32-bit frame, read only, latched when chip select falls.

Source: Maxim/Analog MAX31855 datasheet 19-5793, "Serial Interface", tables 2, 4 and 5: D31..18 thermocouple in
1/4 degree, D16 fault, D15..4 cold junction in 1/16 degree, D2 short to VCC, D1 short to GND, D0 open circuit.
Conversions (100 ms) run by themselves, so that a frame is taken as the newest one.
"""

from collections.abc import Callable
from fractions import Fraction

from ..channel import Channel

OPEN, SHORT_GND, SHORT_VCC, FAULT = 1 << 0, 1 << 1, 1 << 2, 1 << 16
FAULT_BITS = {"open": OPEN, "short-gnd": SHORT_GND, "short-vcc": SHORT_VCC}
FIRE_CELSIUS = Fraction(412)
QUALITY_MISSING, QUALITY_BUS, QUALITY_OPEN = 1, 2, 3


class Max31855:
    """`fault(kind)` is asked for "open", "short-gnd", "short-vcc", "missing" (reads ones) and "stuck" (zeros); and for
    "hot", where nothing is wrong with the part: what it measures has caught fire.
    """

    def __init__(self, cs: int, channel: Channel, junction: Fraction, fault: Callable[[str], bool]) -> None:
        self.cs = cs
        self._channel = channel
        self._junction = junction
        self._fault = fault
        self._frame = b""

    @staticmethod
    def quantised(celsius: Fraction) -> int:
        """The thermocouple field for a temperature: 1/4 degree, nearest step, 14 bits signed."""
        return max(min(round(celsius * 4), 0x1FFF), -0x2000)

    def selected(self) -> None:
        truth = self._channel.now()
        raw = self.quantised(FIRE_CELSIUS if self._fault("hot") else truth.value)
        broken = [bit for kind, bit in FAULT_BITS.items() if self._fault(kind)]
        word = (raw & 0x3FFF) << 18 | (round(self._junction * 16) & 0xFFF) << 4
        value: Fraction | None = Fraction(raw, 4)
        quality = None
        if broken:
            word |= FAULT | sum(broken)
            quality = QUALITY_OPEN
        if self._fault("stuck"):
            word, quality = 0, QUALITY_BUS
        if self._fault("missing"):
            word, quality = 0xFFFFFFFF, QUALITY_MISSING
        self._frame = word.to_bytes(4, "big")
        self._served = False
        self._note = (word, None if quality else value, truth, quality)

    def exchange(self, data: bytes) -> bytes:
        answer, self._frame = self._frame[: len(data)], self._frame[len(data) :]
        if not self._frame and not self._served:
            self._served = True
            self._channel.serve(*self._note)
        return answer + b"\x00" * (len(data) - len(answer))
