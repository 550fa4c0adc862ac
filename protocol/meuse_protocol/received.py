"""The set of sequence numbers that a host has stored, and its bytes in a journal.

What a board needs of it is in ranges; this adds what only a host does: holes, gaps for an ACK,
taking out, saving.
"""

import struct

from .errors import LocalError
from .ranges import SEQ_MAX as SEQ_MAX
from .ranges import Ranges


class RangeSet(Ranges):
    """Sequence numbers 1 .. 2**32 - 1 as sorted, disjoint, never adjacent ranges."""

    def add(self, seq: int) -> bool:
        """Puts one number in; True when it was not there yet."""
        flat = self._flat
        if flat and flat[-1] + 1 == seq <= SEQ_MAX:  # the way a healthy stream grows
            flat[-1] = seq
            return True
        if self.contains(seq):
            return False
        self.add_range(seq, seq)
        return True

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

    def last(self) -> int:
        """The highest number present, 0 when empty."""
        return self._flat[-1] if self._flat else 0

    def gaps(self, limit: int) -> list[int]:
        """[gap, run, gap, run, ...] upward from `cum`, as an ACK carries them; `limit` pairs at most.

        gap: how many are missing; run: how many follow that are there.
        """
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
        """The ranges (first, last) within first .. last that are not in the set."""
        found = []
        flat = self._flat
        i = self._find(first)
        while i < len(flat) and flat[i] <= last:
            if flat[i] > first:
                found.append((first, flat[i] - 1))
            first = flat[i + 1] + 1
            i += 2
        if first <= last:
            found.append((first, last))
        return found

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of every range, ascending."""
        flat = self._flat
        return [(flat[i], flat[i + 1]) for i in range(0, len(flat), 2)]

    def to_bytes(self) -> bytes:
        """8 bytes a range: first and last as big-endian u32, ascending."""
        return b"".join([struct.pack(">I", n) for n in self._flat])

    @classmethod
    def from_bytes(cls, data: bytes) -> "RangeSet":
        """The inverse of to_bytes; LocalError when the bytes are not such a set."""
        if len(data) % 8:
            raise LocalError("a range set of %d bytes" % len(data))
        made = cls()
        flat = [struct.unpack_from(">I", data, i)[0] for i in range(0, len(data), 4)]
        before = -1
        for i in range(0, len(flat), 2):
            if not before + 1 < flat[i] <= flat[i + 1]:
                raise LocalError("a range set out of order")
            before = flat[i + 1]
        if flat and flat[0] < 1:
            raise LocalError("seq 0 in a range set")
        made._flat = flat
        return made
