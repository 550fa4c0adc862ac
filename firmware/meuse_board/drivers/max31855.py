"""MAX31855 thermocouple converter on SPI (mode 0, 5 MHz at most), read only.

Settings: `cs`, number of the chip select pin. Type K; the other types differ in the chip's letter, not here.
Source: Maxim/Analog datasheet 19-5793, tables 2, 4 and 5. Every frame is the newest conversion (100 ms).
"""

from machine import Pin

from . import scaled

MISSING, BUS, OPEN, RANGE = [-1], [-2], [-3], [-4]


class Driver:
    def __init__(self, bus, settings: dict, kept):
        self._bus = bus
        self._cs = Pin(settings["cs"], Pin.OUT, value=1)
        exp = settings["exp"]
        self._up, self._down = 10 ** max(-exp, 0), 4 * 10 ** max(exp, 0)

    def start(self, now_ms: int) -> int:
        return 0

    def read(self, now_ms: int):
        self._cs(0)
        try:
            frame = self._bus.read(4)
        finally:
            self._cs(1)
        high, low = frame[0] << 8 | frame[1], frame[2] << 8 | frame[3]
        if high & low == 0xFFFF:
            return MISSING  # nobody drives the line
        # D17 and D3 are always 0, D16 says whether one of D2..0 is set. All zeros would be 0.00 degrees at both ends
        # at once: a line held low, for all practical purposes.
        fault = high & 1
        if not high | low or high & 2 or low & 8 or fault != (1 if low & 7 else 0):
            return BUS
        if fault:
            return OPEN  # open circuit, or a wire that touches ground or supply
        raw = high >> 2
        if raw & 0x2000:
            raw -= 0x4000
        if not -270 * 4 <= raw <= 1372 * 4:
            return RANGE  # no type K thermocouple gives that
        return scaled(raw * self._up, self._down)
