"""The only module of the host that reads clocks; everything else is given one."""

import time


class Clock:
    """Two clocks in milliseconds: one that only runs forward, one that people share."""

    def now_ms(self) -> int:
        """Monotonic; its zero means nothing."""
        return time.monotonic_ns() // 1_000_000

    def utc_ms(self) -> int:
        """Milliseconds since 1970, UTC; may step when somebody sets the clock."""
        return time.time_ns() // 1_000_000
