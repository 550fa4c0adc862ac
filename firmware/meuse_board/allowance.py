"""What a link may cost: so many bytes a month, counted in both directions, also across reboots.

Owns two kept numbers of its link; refuses to know what a byte costs. Without a clock all counts for one month, so that
a board that does not know the time never spends more than it may.
"""

from .wording import EPOCH_2000_S


class Allowance:
    """`overhead`: bytes that the network counts beside each packet. month(): a number of its own for each, or None."""

    def __init__(self, kept, name: str, budget_bytes: int, overhead: int, month):
        self._kept = kept
        self._used = "bytes." + name
        self._month = "month." + name
        self._overhead = overhead
        self._now = month
        self.budget_bytes = budget_bytes

    def spend(self, size: int) -> None:
        """One packet, either way."""
        month = self._now()
        if month is not None and month != self._kept.get(self._month):
            if self._kept.get(self._month):
                self._kept.put(self._used, 0)
            self._kept.put(self._month, month)
        self._kept.put(self._used, self.used() + size + self._overhead)

    def used(self) -> int:
        return self._kept.get(self._used)

    def left(self) -> int:
        return self.budget_bytes - self.used()

    def kilobytes(self):
        """(used, allowed)"""
        return self.used() // 1000, self.budget_bytes // 1000


def month(clock, gmtime):
    """A function: the number of this month, None while the time is not known."""
    epoch_s = EPOCH_2000_S if gmtime(0)[0] == 2000 else 0

    def now():
        utc_ms = clock.utc_ms(clock.now())
        if utc_ms is None:
            return None
        year, number = gmtime(utc_ms // 1000 - epoch_s)[:2]
        return 12 * year + number

    return now
