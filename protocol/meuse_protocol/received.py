"""A set of sequence numbers kept as ranges: what a host has stored, what a board knows to be stored.

Owns the arithmetic of ranges and their bytes; knows nothing of records, acknowledgements or time. One range costs two
list slots, so a stream without holes costs the same after a day as after ten years.
"""

import struct

from .errors import LocalError

SEQ_MAX = 0xFFFFFFFF  # seq is a u32 and starts at 1


class RangeSet:
    """Sequence numbers 1 .. 2**32 - 1 as sorted, disjoint, never adjacent ranges."""

    def __init__(self) -> None:
        self._flat: list[int] = []  # first, last, first, last ... both ends included

    def add(self, seq: int) -> bool:
        """Puts one number in; True when it was not there yet."""
        flat = self._flat
        if flat and flat[-1] + 1 == seq:  # the way a healthy stream grows
            flat[-1] = seq
            return True
        if self.contains(seq):
            return False
        self.add_range(seq, seq)
        return True

    def add_range(self, first: int, last: int) -> None:
        """Puts first .. last in, both included; raises LocalError unless 1 <= first <= last < 2**32."""
        if not 1 <= first <= last <= SEQ_MAX:
            raise LocalError("range %d..%d" % (first, last))
        flat = self._flat
        begin = self._find(first - 1)  # the first range that touches or follows
        end = begin
        while end < len(flat) and flat[end] <= last + 1:
            first = min(first, flat[end])
            last = max(last, flat[end + 1])
            end += 2
        flat[begin:end] = [first, last]

    def discard(self, seq: int) -> None:
        """Takes one number out, if it is there."""
        flat = self._flat
        i = self._find(seq)
        if i == len(flat) or flat[i] > seq:
            return
        first, last = flat[i], flat[i + 1]
        left = [first, seq - 1] if first < seq else []
        right = [seq + 1, last] if seq < last else []
        flat[i : i + 2] = left + right

    def contains(self, seq: int) -> bool:
        flat = self._flat
        i = self._find(seq)
        return i < len(flat) and flat[i] <= seq

    @property
    def cum(self) -> int:
        """The lowest number from 1 that is missing; 2**32 when none is."""
        flat = self._flat
        return flat[1] + 1 if flat and flat[0] == 1 else 1

    def last(self) -> int:
        """The highest number present, 0 when empty."""
        return self._flat[-1] if self._flat else 0

    def next_missing(self, seq: int) -> int:
        """The lowest number from `seq` upward that is not in the set."""
        flat = self._flat
        i = self._find(seq)
        return flat[i + 1] + 1 if i < len(flat) and flat[i] <= seq else seq

    def count(self) -> int:
        """How many ranges there are."""
        return len(self._flat) >> 1

    def gaps(self, limit: int) -> list[int]:
        """[gap, run, gap, run, ...] upward from `cum`: how many are missing, how many follow; at most `limit` pairs."""
        pairs: list[int] = []
        flat = self._flat
        at = self.cum
        i = 2 if at > 1 else 0
        while i < len(flat) and len(pairs) < 2 * limit:
            pairs += [flat[i] - at, flat[i + 1] - flat[i] + 1]
            at = flat[i + 1] + 1
            i += 2
        return pairs

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges within first .. last that are not in the set."""
        found = []
        flat = self._flat
        i = self._find(first)
        while first <= last:
            if i == len(flat) or flat[i] > last:
                found.append((first, last))
                break
            if flat[i] > first:
                found.append((first, flat[i] - 1))
            first = flat[i + 1] + 1
            i += 2
        return found

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of every range, ascending."""
        flat = self._flat
        return [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]

    def to_bytes(self) -> bytes:
        """8 bytes a range: first and last as big-endian u32, ascending."""
        flat = self._flat
        return b"".join([struct.pack(">I", n) for n in flat])

    @classmethod
    def from_bytes(cls, data: bytes) -> "RangeSet":
        """The inverse of to_bytes; raises LocalError when the bytes are not such a set."""
        made = cls()
        if len(data) % 8:
            raise LocalError("a range set of %d bytes" % len(data))
        flat = [struct.unpack_from(">I", data, i)[0] for i in range(0, len(data), 4)]
        at = -1
        for i in range(0, len(flat), 2):
            if not at + 1 < flat[i] <= flat[i + 1]:
                raise LocalError("ranges out of order")
            at = flat[i + 1]
        if flat and flat[0] < 1:
            raise LocalError("seq 0 in a range set")
        made._flat = flat
        return made

    def _find(self, seq: int) -> int:
        """Index in the flat list of the first range that ends at `seq` or above."""
        flat = self._flat
        low = 0
        high = len(flat) >> 1
        while low < high:
            middle = (low + high) >> 1
            if flat[2 * middle + 1] < seq:
                low = middle + 1
            else:
                high = middle
        return 2 * low
