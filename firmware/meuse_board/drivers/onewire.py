"""A 1-Wire line with its devices: reset, addressing, bytes, search. Knows nothing of what the devices measure.

Source: DS18B20 datasheet 19-7487, "1-Wire Bus System"; the search as in Maxim application note 187. Bits are made by
the port's C module `_onewire`, which every stock image has.
"""

import _onewire

MATCH_ROM, SKIP_ROM, SEARCH_ROM = 0x55, 0xCC, 0xF0


class Bus:
    """`pin`: the line's machine.Pin; a pull-up of 4.7 kOhm outside is assumed."""

    def __init__(self, pin):
        pin.init(pin.OPEN_DRAIN, pin.PULL_UP)
        self._pin = pin

    def select(self, rom) -> bool:
        """Resets the line and addresses one device (eight bytes), or whoever is there (None); False: nobody is."""
        if not _onewire.reset(self._pin):
            return False
        self.write(b"\xcc" if rom is None else b"\x55" + rom)
        return True

    def write(self, data: bytes) -> None:
        for byte in data:
            _onewire.writebyte(self._pin, byte)

    def read(self, n: int) -> bytes:
        return bytes([_onewire.readbyte(self._pin) for _ in range(n)])

    def scan(self) -> list[bytes]:
        """The ROM codes of all devices, each checked by its CRC; about 15 ms each on a board."""
        found, rom, fork = [], bytearray(8), -1
        while len(found) < 32:  # more do not work on one line; a line that lies must not keep the board
            fork = self._pass(rom, fork)
            if fork is None or rom[0] == 0 or _onewire.crc8(rom):
                break
            found.append(bytes(rom))
            if fork < 0:
                break
        return found

    def _pass(self, rom, fork: int):
        """One walk down the tree of codes, taking 1 at the last fork; the next fork (-1: none), or None: nobody."""
        pin = self._pin
        if not _onewire.reset(pin):
            return None
        _onewire.writebyte(pin, SEARCH_ROM)
        next_fork = -1
        for i in range(64):
            bit, complement = _onewire.readbit(pin), _onewire.readbit(pin)
            mask = 1 << (i & 7)
            if bit and complement:
                return None
            if not bit and not complement:
                bit = 1 if i == fork or (i < fork and rom[i >> 3] & mask) else 0
                if not bit:
                    next_fork = i
            if bit:
                rom[i >> 3] |= mask
            else:
                rom[i >> 3] &= ~mask
            _onewire.writebit(pin, bit)
        return next_fork
