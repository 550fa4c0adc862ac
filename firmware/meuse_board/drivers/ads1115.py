"""ADS1115 converter on I2C with a 4-20 mA transmitter over a shunt on each input.

Settings: `input` 0..3; `at_4ma` and `at_20ma`, whole numbers in the channel's unit; `address` (72), `shunt_ohm` (100),
`range_mv` (2048: up to 20.48 mA over 100 Ohm).
Source: TI SBAS444E, tables 8-1 to 8-3 (registers), section 7.5 (data rate within 10 %); NAMUR NE 43: a current below
3.8 mA or above 20.5 mA is a fault, not a measurement. The channels of one chip take turns: one conversion at a time.
"""

from . import scaled

MISSING, BUS, OPEN, RANGE = [-1], [-2], [-3], [-4]
RANGES_MV = (6144, 4096, 2048, 1024, 512, 256)
SINGLE_SHOT_128 = 0x8183  # OS, single shot, 128 samples/s, comparator off
WAIT_MS = 10  # 1 / 128 s and 10 %
LIMIT_MS = 200  # a conversion that takes longer will not come; nor will who asked for it and did not read it
ENODEV, EIO = 19, 5  # nobody acknowledges: ESP32 and most ports, RP2

_busy = {}  # (bus, address) -> driver whose conversion is under way


class Driver:
    def __init__(self, bus, settings: dict, kept):
        self._bus = bus
        self._address = settings.get("address", 72)
        self._key = (id(bus), self._address)
        range_mv, low, exp = settings.get("range_mv", 2048), settings["at_4ma"], settings["exp"]
        self._config = SINGLE_SHOT_128 | settings["input"] + 4 << 12 | RANGES_MV.index(range_mv) << 9
        # Current in units of 1 / (32768 * shunt) uA: exact, no division before the last one.
        self._per_code, self._ua = range_mv * 1000, 32768 * settings.get("shunt_ohm", 100)
        span = settings["at_20ma"] - low
        up, down = 10 ** max(-exp, 0), 10 ** max(exp, 0)
        self._span, self._down = span * up, 16000 * self._ua * down
        self._zero = low * up * 16000 * self._ua
        self._began_ms = self._failed = None

    def start(self, now_ms: int) -> int:
        self._release()
        self._began_ms = self._failed = None
        self._begin(now_ms)
        return WAIT_MS

    def read(self, now_ms: int):
        if self._failed:
            return self._failed
        if _busy.get(self._key) is self:
            return self._guard(self._finish, now_ms)
        self._begin(now_ms)
        return self._failed

    def _begin(self, now_ms: int) -> None:
        """Unless another channel has the chip; read() comes here again."""
        other = _busy.get(self._key)
        if other is None or now_ms - other._began_ms > LIMIT_MS:
            self._failed = self._guard(self._convert, now_ms)

    def _release(self) -> None:
        if _busy.get(self._key) is self:
            _busy.pop(self._key)

    def _convert(self, now_ms: int) -> None:
        self._bus.writeto_mem(self._address, 1, self._config.to_bytes(2, "big"))
        self._began_ms = now_ms
        _busy[self._key] = self

    def _finish(self, now_ms: int):
        """The value when it is there; gives the chip back."""
        bus, address = self._bus, self._address
        config = int.from_bytes(bus.readfrom_mem(address, 1, 2), "big")
        if not config & 0x8000 and now_ms - self._began_ms <= LIMIT_MS:
            return None
        self._release()
        if config != self._config:
            return BUS  # no end, or not what was asked for: the chip lost its supply, or has a second master
        code = int.from_bytes(bus.readfrom_mem(address, 0, 2), "big")
        return self._value(code - 65536 if code & 0x8000 else code)

    def _value(self, code: int):
        current = code * self._per_code
        if current < 3800 * self._ua:
            return OPEN
        if current > 20500 * self._ua or code == 0x7FFF:
            return RANGE
        return scaled(self._zero + self._span * (current - 4000 * self._ua), self._down)

    def _guard(self, act, now_ms: int):
        try:
            return act(now_ms)
        except OSError as problem:
            self._release()
            return MISSING if problem.errno in (ENODEV, EIO) else BUS
