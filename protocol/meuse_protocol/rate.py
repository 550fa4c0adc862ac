"""How often something may happen: the one bound behind every reaction that a stranger can provoke."""


class Rate:
    """At most `count` times within `per_ms`, counted from the first of them."""

    def __init__(self, count: int, per_ms: int) -> None:
        self._count = count
        self._per_ms = per_ms
        self._start_ms: int | None = None
        self._used = 0

    def allow(self, now_ms: int) -> bool:
        """Takes one; False when there is none left for now."""
        if self._start_ms is None or now_ms - self._start_ms >= self._per_ms:
            self._start_ms = now_ms
            self._used = 0
        self._used += 1
        return self._used <= self._count


class Patience:
    """Ends when more than `count` things went wrong within `per_ms`: nothing is heard for `mute_ms`."""

    def __init__(self, count: int, per_ms: int, mute_ms: int) -> None:
        self._rate = Rate(count, per_ms)
        self._mute_ms = mute_ms
        self._until_ms = 0

    def wrong(self, now_ms: int) -> bool:
        """One more; True when it was one too many."""
        if self._rate.allow(now_ms):
            return False
        self._until_ms = now_ms + self._mute_ms
        return True

    def over(self, now_ms: int) -> bool:
        return now_ms < self._until_ms
