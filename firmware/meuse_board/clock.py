"""The board's sense of time: an uptime that never wraps, the boot's number, and UTC once a host has told it.

Refuses to know where ticks come from, who measures the offset and what a record is. No clock at boot is normal:
times before the first sync count from the boot (negative t0) and are dated by the host. Integers only: milliseconds
since 1970 do not fit a board's float.
"""


class Clock:
    """`ticks_ms` and `ticks_diff` as MicroPython's: a counter that wraps, and the signed distance of two of its values.

    now() must be called more often than half the counter's period (6 days on a board).
    """

    def __init__(self, ticks_ms, ticks_diff, boot: int):
        self._ticks = ticks_ms
        self._diff = ticks_diff
        self._last = ticks_ms()
        self._now = 0
        self.boot = boot
        self.offset_ms = None  # UTC (ms since 1970) minus uptime
        self.err_ms = None

    def now(self) -> int:
        """Uptime in ms; never goes back."""
        ticks = self._ticks()
        passed = self._diff(ticks, self._last)
        if passed > 0:
            self._last = ticks
            self._now += passed
        return self._now

    def sync(self, offset_ms: int, err_ms: int) -> None:
        """The endpoint's best knowledge; it may step both ways."""
        self.offset_ms = offset_ms
        self.err_ms = err_ms

    def utc_ms(self, uptime_ms: int):
        return None if self.offset_ms is None else uptime_ms + self.offset_ms

    def ticks(self, uptimes_ms: list[int], tick_ms: int) -> list[int]:
        """Times of rows in ticks since 1970, or since the boot while UTC is unknown; rounded."""
        shift = (self.offset_ms or 0) + tick_ms // 2
        return [(t + shift) // tick_ms for t in uptimes_ms]
