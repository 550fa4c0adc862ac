"""What every 1-Wire device does before its own commands: presence, ROM commands and the search, bit by bit.

Source: Maxim/Analog DS18B20 datasheet 19-7487, "1-Wire Bus System", figures 11 and 12. Least significant bit first.
"""

READ_ROM, MATCH_ROM, SKIP_ROM, SEARCH_ROM = 0x33, 0x55, 0xCC, 0xF0


def crc8(data: bytes) -> int:
    """CRC of the ROM code and the scratchpad: x^8 + x^5 + x^4 + 1, least significant bit first (ibid., "CRC")."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8C if crc & 1 else crc >> 1
    return crc


def bits(data: bytes) -> list[int]:
    return [byte >> i & 1 for byte in data for i in range(8)]


class OneWireDevice:
    """One slave on a line. A subclass gives `command(code)` (may fill `output`) and `received(byte)`."""

    def __init__(self, rom: bytes) -> None:
        if len(rom) != 8 or crc8(rom[:7]) != rom[7]:
            raise ValueError(f"ROM code {rom.hex()}: eight bytes, the last one the CRC-8 of the others")
        self.rom = rom
        self.output: list[int] = []  # bits that the following read slots give
        self._state = "idle"
        self._shift: list[int] = []
        self._position = 0  # bit of the ROM code that a search has reached

    def present(self) -> bool:
        """Whether it is powered and connected."""
        return True

    def stuck(self) -> bool:
        """Whether it holds the line low."""
        return False

    def reset(self) -> bool:
        """The master's reset pulse; True when it answers with a presence pulse."""
        self._state, self._shift, self.output = "rom", [], []
        return self.present()

    def read_slot(self) -> int:
        """The level it leaves on the line: 0 pulls down, 1 leaves it to the pull-up."""
        if self._state == "idle" or not self.present():
            return 1
        return self.output.pop(0) if self.output else self.idle_bit()

    def idle_bit(self) -> int:
        """What a read slot gives when there is nothing to send."""
        return 1

    def write_slot(self, bit: int) -> None:
        if self._state == "search":
            self._choose(bit)
        elif self._state != "idle":
            self._shift.append(bit)
            wanted = 64 if self._state == "match" else 8
            if len(self._shift) == wanted:
                taken, self._shift = self._shift, []
                self._take(taken)

    def command(self, code: int) -> None:
        raise NotImplementedError

    def received(self, byte: int) -> None:
        """A byte after a command that takes data."""

    def _take(self, taken: list[int]) -> None:
        if self._state == "match":
            self._state = "command" if taken == bits(self.rom) else "idle"
            return
        byte = sum(bit << i for i, bit in enumerate(taken))
        if self._state == "rom":
            self._rom_command(byte)
        elif self._state == "command":
            self._state = "data"
            self.command(byte)
        else:
            self.received(byte)

    def _rom_command(self, code: int) -> None:
        self._state = {MATCH_ROM: "match", SKIP_ROM: "command", SEARCH_ROM: "search"}.get(code, "idle")
        if code == READ_ROM:
            self._state, self.output = "data", bits(self.rom)
        if code == SEARCH_ROM:
            self._position = 0
            self._offer()

    def _offer(self) -> None:
        """The two slots of a search step: the bit, then its complement."""
        bit = bits(self.rom)[self._position]
        self.output = [bit, 1 - bit]

    def _choose(self, bit: int) -> None:
        """The master's direction: who has another bit falls silent until the next reset."""
        if bit != bits(self.rom)[self._position]:
            self._state, self.output = "idle", []
        elif self._position == 63:
            self._state = "command"
        else:
            self._position += 1
            self._offer()
