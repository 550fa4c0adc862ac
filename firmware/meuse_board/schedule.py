"""The rules of reporting, as pure arithmetic: when a reading is due, what counts as a change, what as an alarm."""


def next_due(now_ms: int, period_ms: int, offset_ms: int, last_ms) -> int:
    """The next uptime at which uptime + offset is a multiple of the period; boards with known UTC read in step.

    At least half a period after `last_ms` (None: no reading yet), so that a clock correction makes no double reading.
    """
    due = ((now_ms + offset_ms) // period_ms + 1) * period_ms - offset_ms
    if last_ms is not None and (due - last_ms) * 2 < period_ms:
        due += period_ms
    return due


def changed(told, value, deadband: int) -> bool:
    """Whether `value` must be reported after `told`: by more than the deadband, or in what is known about it."""
    if isinstance(told, int) and isinstance(value, int):
        return abs(value - told) > deadband
    return told != value


class Alarm:
    """On at or beyond a threshold, off again more than `hysteresis` inside it; scaled units, None: no threshold."""

    def __init__(self, low, high, hysteresis: int):
        self._low = low
        self._high = high
        self._hysteresis = hysteresis
        self.on = False

    def update(self, value: int) -> bool:
        """Whether this value switched the alarm on or off."""
        margin = self._hysteresis if self.on else 0
        high = self._high is not None and value >= self._high - margin
        on = high or (self._low is not None and value <= self._low + margin)
        turned = on != self.on
        self.on = on
        return turned
