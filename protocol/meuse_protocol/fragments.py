"""Records too long for a link, sent in parts: what a board needs of it, loaded when the first one is.

A record travels as R and MAC, cut anywhere; the stream stands in each part's own head, so parts
that came by links of different sizes fit together. Knows which parts are still to go, and keeps no
bytes of them.
"""

from .messages import FRAG, FRAG0, record, splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outbox import Outbox
    from .ports import Any, Log

HEAD_BYTES = 18  # of a part at most: array, type, stream 5, seq 5, offset 3, bin 3
ROOM_MIN_BYTES = 8
LONGEST_BYTES = 4096  # of a record
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


class Parts(Fragments):
    """The same, with the log that has the records, the order of sending, and signed(R) -> R and MAC."""

    def __init__(self, mtu: int, log: "Log", outbox: "Outbox", signed: "Any") -> None:
        super().__init__(mtu)
        self._log = log
        self._outbox = outbox
        self._signed = signed

    def send(self, now_ms: int, stream: int, clean: bool) -> "bytes | None":
        """The next part; its record counts as sent when the last one is. clean: see Window.sent."""
        seq = self.seq
        body = self._log.get(seq)
        if body is None or self._outbox.stored.contains(seq):
            self.forget(seq)
            self._outbox.forget(seq)
            return None
        e2e, last = self.next(self._signed(body), stream)
        if last:
            flight = self._outbox.flight
            again = flight.forget(seq)
            flight.sent(seq, now_ms, clean and not again)
        return e2e

    def want(self, wanted: "list[Any] | None") -> None:
        """[seq, offset, length, offset, length ...]: these are missing; what is no number is not."""
        if wanted and not [x for x in wanted if type(x) is not int or x < 0]:
            for i in range(1, len(wanted) - 1, 2):
                self.add(wanted[0], wanted[i], min(wanted[i + 1], LONGEST_BYTES))
