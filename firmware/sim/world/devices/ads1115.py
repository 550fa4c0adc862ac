"""ADS1115 converter with current loops on its inputs: pointer, conversion and configuration registers.

Source: TI ADS1115 datasheet SBAS444E, section 8.6 (registers), table 8-3 (configuration), 8.3.6 (data rate).
Not modelled: comparator (its registers are kept), continuous mode's own timing (a read converts at once).
Each input is a 4-20 mA transmitter over a shunt to ground: I = 4 mA + 16 mA * (value - at_4ma) / (at_20ma - at_4ma).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..channel import Channel, Truth
from ..clock import WorldClock

CONVERSION, CONFIG = 0, 1
OS, CONTINUOUS_OFF = 0x8000, 0x0100
RESET_CONFIG = 0x8583
FULL_SCALE_UV = (6_144_000, 4_096_000, 2_048_000, 1_024_000, 512_000, 256_000, 256_000, 256_000)
SAMPLES_PER_S = (8, 16, 32, 64, 128, 250, 475, 860)
QUALITY_OPEN, QUALITY_RANGE = 3, 4
BROKEN_UA = 2000  # what a transmitter gives under the fault "low"; below 3.8 mA no value is valid (NAMUR NE 43)


@dataclass(frozen=True)
class Loop:
    """A 4-20 mA transmitter and its shunt; `fault` is asked for "low" (2 mA) and "open" (no current)."""

    channel: Channel
    at_4ma: Fraction
    at_20ma: Fraction
    shunt_ohm: int
    fault: Callable[[str], bool]

    def microvolts(self, truth: Truth) -> Fraction:
        if self.fault("open"):
            return Fraction(0)
        if self.fault("low"):
            return Fraction(BROKEN_UA * self.shunt_ohm)
        span = self.at_20ma - self.at_4ma
        return (4000 + 16000 * (truth.value - self.at_4ma) / span) * self.shunt_ohm

    def scaled(self, code: int, full_scale_uv: int) -> Fraction:
        """What a conversion result says about the quantity."""
        current_ua = Fraction(code * full_scale_uv, 32768 * self.shunt_ohm)
        return self.at_4ma + (current_ua - 4000) * (self.at_20ma - self.at_4ma) / 16000

    def quality(self, code: int, full_scale_uv: int) -> int | None:
        """What is wrong with a conversion result: NE 43 takes 3.8 to 20.5 mA for measurements."""
        current_ua = Fraction(code * full_scale_uv, 32768 * self.shunt_ohm)
        if current_ua < 3800:
            return QUALITY_OPEN
        return QUALITY_RANGE if current_ua > 20500 or code == 0x7FFF else None


def quantised(microvolts: Fraction, full_scale_uv: int) -> int:
    """The conversion register for a voltage: nearest step of full scale / 32768, 16 bits signed."""
    return max(min(round(microvolts * 32768 / full_scale_uv), 0x7FFF), -0x8000)


class Ads1115:
    """`fault(kind)` is asked for "missing" and "stuck"; `loops` maps AIN0..3 to what hangs there."""

    def __init__(self, address: int, loops: dict[int, Loop], clock: WorldClock, fault: Callable[[str], bool]) -> None:
        self.address = address
        self._clock = clock
        self._loops = loops
        self._fault = fault
        self.power_on()

    def power_on(self) -> None:
        self._registers = {CONVERSION: 0, CONFIG: RESET_CONFIG, 2: 0x8000, 3: 0x7FFF}
        self._pointer = 0
        self._ready_s: float | None = None
        self._fresh: tuple[Loop, Truth, int, int] | None = None

    def present(self) -> bool:
        return not self._fault("missing")

    def stuck(self) -> bool:
        return self._fault("stuck")

    def write(self, data: bytes) -> None:
        """First byte: the pointer; two more: the register it points to."""
        if data:
            self._pointer = data[0] & 3
        if len(data) >= 3 and self._pointer != CONVERSION:
            value = data[1] << 8 | data[2]
            self._registers[self._pointer] = value
            if self._pointer == CONFIG and value & OS:
                self._convert(value)

    def read(self, size: int) -> bytes:
        self._settle()
        value = self._registers[self._pointer]
        if self._pointer == CONFIG:
            value = value & ~OS | (OS if self._ready_s is None else 0)
        if self._pointer == CONVERSION and self._fresh:
            self._note(*self._fresh)
            self._fresh = None
        return (value.to_bytes(2, "big") * (size // 2 + 1))[:size]

    def _convert(self, config: int) -> None:
        """Single shot: the result is there after one period of the data rate."""
        self._ready_s = self._clock.steady_s() + 1 / SAMPLES_PER_S[config >> 5 & 7]
        full_scale_uv = FULL_SCALE_UV[config >> 9 & 7]
        mux = config >> 12 & 7
        loop = self._loops.get(mux - 4)  # 4..7: AIN0..3 against ground; nothing hangs between two inputs
        if loop is None:
            self._result, self._coming = 0, None
            return
        truth = loop.channel.now()
        self._result = quantised(loop.microvolts(truth), full_scale_uv)
        self._coming = (loop, truth, self._result, full_scale_uv)

    def _settle(self) -> None:
        if self._ready_s is not None and self._clock.steady_s() >= self._ready_s:
            self._ready_s = None
            self._registers[CONVERSION] = self._result & 0xFFFF
            self._fresh = self._coming

    @staticmethod
    def _note(loop: Loop, truth: Truth, code: int, full_scale_uv: int) -> None:
        quality = loop.quality(code, full_scale_uv)
        value = None if quality else loop.scaled(code, full_scale_uv)
        loop.channel.serve(code, value, truth, quality)
