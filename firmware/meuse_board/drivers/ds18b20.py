"""DS18B20 thermometer on a 1-Wire line (`bus`: drivers.onewire.Bus), powered by its own wire.

Settings: `rom`, 16 hexadecimal digits (none: the only device on the line); `bits` 9..12 (12).
Source: Maxim/Analog datasheet 19-7487: figure 4 (register), figure 8 (memory), table 2 (conversion time).

A sensor that lost its supply says 85 degrees. To tell that from a real 85 the alarm registers hold marks that are
never copied to its EEPROM: when they are gone, its supply was, and the value with it.
"""

import time

from _onewire import crc8

from . import scaled

MISSING, BUS, RANGE, NOT_READY = [-1], [-2], [-4], [-5]
MARKS = b"\x4d\x53"  # TH and TL; shipped as 4b 46


class Driver:
    def __init__(self, bus, settings: dict, kept):
        rom, bits = settings.get("rom"), settings.get("bits", 12)
        self._rom = bytes([int(rom[i : i + 2], 16) for i in range(0, len(rom), 2)]) if rom else None
        if rom and (len(rom) != 16 or crc8(self._rom)):
            raise ValueError("rom %s: not a ROM code, its checksum is wrong" % rom)
        if not 9 <= bits <= 12:
            raise ValueError("bits: 9 to 12")
        self._bus = bus
        self._marks = MARKS + bytes((bits - 9 << 5 | 0x1F,))
        self._marked = self._asked = False
        self._unused = (1 << (12 - bits)) - 1
        self._wait_ms = (750 >> (12 - bits)) + 2  # a fraction, and where within a tick it began
        self._ready = 0
        exp = settings["exp"]
        self._up, self._down = 10 ** max(-exp, 0), 16 * 10 ** max(exp, 0)

    def start(self, now_ms: int) -> int:
        bus = self._bus
        self._asked = bus.select(self._rom)
        if self._asked and not self._marked:
            bus.write(b"\x4e" + self._marks)
            self._marked = True
            bus.select(self._rom)
        if not self._asked:
            return 0
        bus.write(b"\x44")
        self._ready = time.ticks_add(time.ticks_ms(), self._wait_ms)
        return self._wait_ms

    def read(self, now_ms: int):
        bus = self._bus
        # Too early it would still give the reading before, or 85 degrees. (It can be asked whether it is done, but not
        # once another device on the line has been addressed.)
        if self._asked and time.ticks_diff(self._ready, time.ticks_ms()) > 0:
            return None
        if not self._asked or not bus.select(self._rom):
            return MISSING
        bus.write(b"\xbe")
        pad = bus.read(9)
        if pad == b"\xff" * 9:
            return MISSING  # a line that nobody drives
        # Nine zeros have a right CRC, so a line held low is told by the register's fixed bits (figure 10).
        if crc8(pad) or pad[4] & 0x9F != 0x1F:
            return BUS
        if pad[2:5] != self._marks:
            self._marked = False
            return NOT_READY
        raw = pad[0] | pad[1] << 8
        raw = (raw - 65536 if raw & 0x8000 else raw) & ~self._unused
        if not -55 * 16 <= raw <= 125 * 16:
            return RANGE
        return scaled(raw * self._up, self._down)
