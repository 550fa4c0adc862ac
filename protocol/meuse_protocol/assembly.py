"""Records that come in parts: put together on the host, within bounds, in any order, from any link.

A part proves nothing: the MAC is that of the whole. So who forges parts can cost a stream its
partial records, which are sent again, and memory up to the bounds below; nothing else.
"""

from .received import RangeSet

PARTIAL_MAX = 4  # partial ones of a stream; the one that moved least recently makes way
BYTES_MAX = 4096 + 16  # the longest E2E a host takes
PARTIAL_AGE_MS = 600000
WANTED_MAX = 8  # ranges in one NEED


class _Partial:
    def __init__(self) -> None:
        self.total = 0  # bytes; 0: the first part has not come
        self.data = bytearray()
        self.have = RangeSet()  # offsets + 1
        self.moved_ms = 0

    def fits(self, offset: int, part: bytes) -> bool:
        """Nothing of it contradicts what is there."""
        end = offset + len(part)
        if self.total and end > self.total:
            return False
        at = offset
        for first, last in self.have.missing(offset + 1, end) + [(end + 1, end)]:
            if self.data[at : first - 1] != part[at - offset : first - 1 - offset]:
                return False
            at = last
        return True

    def put(self, offset: int, part: bytes) -> None:
        end = offset + len(part)
        if len(self.data) < end:
            self.data.extend(bytes(end - len(self.data)))
        self.data[offset:end] = part
        self.have.add_range(offset + 1, end)


class Assembly:
    """The partial records of one stream."""

    def __init__(self) -> None:
        self._partials: dict[int, _Partial] = {}

    def __len__(self) -> int:
        return len(self._partials)

    def add(self, seq: int, total: int, offset: int, part: bytes, now_ms: int) -> "bytes | None":
        """One part; total: 0 where it does not say -> the whole record, once all of it is there.

        A part that contradicts the others, or is beyond the bounds, drops the partial record:
        ValueError says which.
        """
        end = offset + len(part)
        if not part or end > BYTES_MAX or total > BYTES_MAX:
            raise ValueError("fragment_limit")
        partial = self._partials.pop(seq, None) or self._begin(now_ms)
        if total:
            known = partial.have.last()
            if (partial.total and partial.total != total) or known > total:
                raise ValueError("fragment_differs")
            partial.total = total
        if not partial.fits(offset, part):
            raise ValueError("fragment_differs")
        partial.put(offset, part)
        partial.moved_ms = now_ms
        if partial.total and not partial.have.missing(1, partial.total):
            return bytes(partial.data)
        self._partials[seq] = partial  # behind the others: it moved last
        return None

    def missing(self, seq: int) -> list[int]:
        """[offset, length, ...] of the holes, once the last part is there; [] before."""
        partial = self._partials.get(seq)
        if partial is None or partial.have.last() != partial.total:
            return []
        found: list[int] = []
        for first, last in partial.have.missing(1, partial.total)[:WANTED_MAX]:
            found += [first - 1, last - first + 1]
        return found

    def forget(self, seq: int) -> None:
        """It came whole."""
        self._partials.pop(seq, None)

    def _begin(self, now_ms: int) -> _Partial:
        """Room for one more."""
        for seq in list(self._partials):
            if len(self._partials) >= PARTIAL_MAX or now_ms - self._partials[seq].moved_ms > PARTIAL_AGE_MS:
                del self._partials[seq]
        return _Partial()
