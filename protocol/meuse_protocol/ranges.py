"""Sequence numbers as sorted ranges: the part of the arithmetic that a board needs.

One range costs two list slots, so a stream without holes costs the same after a day as after ten
years. Knows nothing of records, acknowledgements or time.
"""

from .errors import LocalError

SEQ_MAX = 0xFFFFFFFF  # seq is a u32 and starts at 1


class Ranges:
    """Sequence numbers 1 .. 2**32 - 1 as sorted, disjoint, never adjacent ranges."""

    def __init__(self) -> None:
        self._flat: list[int] = []  # first, last, first, last ... both ends included

    def add_range(self, first: int, last: int) -> None:
        """Puts first .. last in, both included; LocalError unless 1 <= first <= last < 2**32."""
        if not 1 <= first <= last <= SEQ_MAX:
            raise LocalError("range")
        flat = self._flat
        begin = end = self._find(first - 1)  # the first range that touches or follows
        while end < len(flat) and flat[end] <= last + 1:
            first = min(first, flat[end])
            last = max(last, flat[end + 1])
            end += 2
        flat[begin:end] = [first, last]

    def clear(self) -> None:
        self._flat = []

    def contains(self, seq: int) -> bool:
        return self.next_missing(seq) != seq

    def next_missing(self, seq: int) -> int:
        """The lowest number from `seq` upward that is not in the set."""
        flat = self._flat
        i = self._find(seq)
        return flat[i + 1] + 1 if i < len(flat) and flat[i] <= seq else seq

    @property
    def cum(self) -> int:
        """The lowest number from 1 that is missing; 2**32 when none is."""
        return self.next_missing(1)

    def count(self) -> int:
        """How many ranges there are."""
        return len(self._flat) // 2

    def _find(self, seq: int) -> int:
        """Index in the flat list of the first range that ends at `seq` or above."""
        flat = self._flat
        low = 0
        high = len(flat) // 2
        while low < high:
            middle = (low + high) // 2
            if flat[2 * middle + 1] < seq:
                low = middle + 1
            else:
                high = middle
        return 2 * low
