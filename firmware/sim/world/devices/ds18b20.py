"""DS18B20 thermometer: scratchpad, conversion time, 85 degrees at power-on.

Source: Maxim/Analog DS18B20 datasheet 19-7487: figure 4 (temperature register), figure 8 (memory map), table 2
(resolution and conversion time), "DS18B20 Function Commands". Not modelled: parasite power, alarm search.
"""

from collections.abc import Callable
from fractions import Fraction

from ..channel import Channel, Truth
from .onewire import OneWireDevice, bits, crc8

CONVERT_T, WRITE_SCRATCHPAD, READ_SCRATCHPAD = 0x44, 0x4E, 0xBE
COPY_SCRATCHPAD, RECALL_E2, READ_POWER_SUPPLY = 0x48, 0xB8, 0xB4
POWER_ON_RAW = 0x0550  # +85 degrees
# 12 bit; half of it for each bit less. The datasheet's 750 ms is the longest: the driver must wait that long, a part
# is done sooner. Here by as much as a loaded PC may be late in telling the part to begin.
CONVERSION_S = 0.6
QUALITY_BUS, QUALITY_NOT_READY = 2, 5


class Ds18b20(OneWireDevice):
    """`fault(kind)` is asked for "missing", "stuck", "checksum" and "power-on": a dip of the supply in each
    conversion."""

    def __init__(self, rom: bytes, channel: Channel, fault: Callable[[str], bool]) -> None:
        super().__init__(rom)
        self._channel = channel
        self._fault = fault
        self._eeprom = bytes((0x4B, 0x46, 0x7F))  # TH, TL and configuration as shipped
        self._written: list[int] = []
        self.power_on()

    def power_on(self) -> None:
        """The supply came (back): the registers are those of EEPROM, the temperature reads 85 degrees."""
        self._raw = POWER_ON_RAW
        self._settings = self._eeprom
        self._truth: Truth | None = None
        self._ready_s = 0.0
        self._pending: Truth | None = None

    def present(self) -> bool:
        return not self._fault("missing")

    def stuck(self) -> bool:
        return self._fault("stuck")

    def idle_bit(self) -> int:
        """Read slots during a conversion give 0, afterwards 1."""
        return 0 if self._pending and self._channel.clock.steady_s() < self._ready_s else 1

    def command(self, code: int) -> None:
        self._settle()
        if code == CONVERT_T:
            self._convert()
        elif code == READ_SCRATCHPAD:
            self._send_scratchpad()
        elif code == WRITE_SCRATCHPAD:
            self._written = []
        elif code == COPY_SCRATCHPAD:
            self._eeprom = self._settings
        elif code == RECALL_E2:
            self._settings = self._eeprom
        elif code == READ_POWER_SUPPLY:
            self.output = [1]

    def received(self, byte: int) -> None:
        self._written.append(byte)
        if len(self._written) == 3:
            high, low, config = self._written
            self._settings = bytes((high, low, config & 0x60 | 0x1F))

    @property
    def _unused_bits(self) -> int:
        return 3 - (self._settings[2] >> 5 & 3)

    def _convert(self) -> None:
        if self._fault("power-on"):
            self.power_on()
            return
        self._pending = self._channel.now()
        self._ready_s = self._channel.clock.steady_s() + CONVERSION_S / 2**self._unused_bits

    def _settle(self) -> None:
        """Puts a conversion that has had its time into the register."""
        if self._pending and self._channel.clock.steady_s() >= self._ready_s:
            self._raw = self.quantised(self._pending.value, self._unused_bits)
            self._truth, self._pending = self._pending, None

    @staticmethod
    def quantised(celsius: Fraction, unused_bits: int = 0) -> int:
        """The register for a temperature: 1/16 degree, nearest step, unused low bits 0, limits of the part."""
        step: int = 2**unused_bits
        raw = round(celsius * 16 / step) * step
        return max(min(raw, 125 * 16), -55 * 16)

    def _send_scratchpad(self) -> None:
        pad = self._raw.to_bytes(2, "little", signed=True) + self._settings + b"\xff\x0c\x10"
        pad += bytes((crc8(pad),))
        damaged = self._fault("checksum")
        if damaged:
            pad = bytes((pad[0] ^ 0x40,)) + pad[1:]
        self.output = bits(pad)
        if damaged:
            self._note(QUALITY_BUS)
        elif self._truth is None:
            self._note(QUALITY_NOT_READY)
        else:
            self._note(None)

    def _note(self, quality: int | None) -> None:
        truth = self._truth or self._channel.now()
        value = Fraction(self._raw, 16) if quality is None else None
        self._channel.serve(self._raw, value, truth, quality)
