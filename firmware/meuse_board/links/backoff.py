"""How long to wait before the next attempt: doubling, bounded, and jittered so that a fleet does not knock in step."""


class Backoff:
    """Waits between half and all of first, 2 x first, 4 x first ... at most `longest` ms."""

    def __init__(self, first_ms: int, longest_ms: int, random_u32):
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._random_u32 = random_u32
        self.failures = 0

    def next_ms(self) -> int:
        ceiling = min(self._first_ms << min(self.failures, 16), self._longest_ms)
        self.failures += 1
        return ceiling // 2 + self._random_u32() % (ceiling // 2 + 1)

    def reset(self) -> None:
        self.failures = 0
