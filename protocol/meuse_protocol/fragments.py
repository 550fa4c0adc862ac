"""Records too long for a link, sent in parts: what a board needs of it, loaded when the first one is.

A record travels as R and MAC, cut anywhere; the stream stands in each part's own head, so parts
that came by links of different sizes fit together. Knows which parts are still to go, and keeps no
bytes of them.
"""

from .messages import FRAG, FRAG0, record, splice

HEAD_BYTES = 18  # of a part at most: array, type, stream 5, seq 5, offset 3, bin 3
ROOM_MIN_BYTES = 8
LEFT_MAX = 256  # parts waiting: a record of 4 kB on the narrowest link, twice over


class Fragments:
    """The parts that are to be sent, in order. mtu: bytes of one packet on this link."""

    def __init__(self, mtu: int) -> None:
        self._room = mtu - HEAD_BYTES
        self._left: list[tuple[int, int, int]] = []  # seq, offset, length

    def __len__(self) -> int:
        return len(self._left)

    @property
    def seq(self) -> int:
        """The record that the next part is of."""
        return self._left[0][0]

    def add(self, seq: int, offset: int, length: int) -> bool:
        """These bytes of a record are to go -> False: the link is too narrow, or too much waits."""
        if self._room < ROOM_MIN_BYTES or len(self._left) + length // self._room >= LEFT_MAX:
            return False
        while length > 0:
            self._left.append((seq, offset, min(length, self._room)))
            offset += self._room
            length -= self._room
        return True

    def next(self, whole: bytes, stream: int) -> "tuple[bytes, bool]":
        """(packet with the next part of `whole`, R and MAC of record `seq`; whether it was the last)."""
        seq, offset, length = self._left.pop(0)
        part = whole[offset : offset + length]
        if offset:
            body = record(FRAG, seq, offset, part)
        else:
            body = record(FRAG0, seq, len(whole), part)
        return splice(body, stream), not self._left or self._left[0][0] != seq

    def forget(self, seq: int) -> None:
        """Nothing of this record need go any more."""
        self._left = [part for part in self._left if part[0] != seq]
