"""The only module of the host that reads clocks; everything else is given one."""

import time

# This program did not exist before.
YEAR_2025_MS = 1_735_689_600_000


class Clock:
    """Two clocks in milliseconds: one that only runs forward, one that people share."""

    def now_ms(self) -> int:
        """Monotonic; its zero means nothing."""
        return time.monotonic_ns() // 1_000_000

    def believed_utc_ms(self) -> int | None:
        """utc_ms, or None while the machine's clock cannot be right: a small computer without a
        battery starts in the past, and boards must not learn that from it."""
        now_ms = self.utc_ms()
        return now_ms if now_ms >= YEAR_2025_MS else None

    def utc_ms(self) -> int:
        """Milliseconds since 1970, UTC; may step when somebody sets the clock."""
        return time.time_ns() // 1_000_000
