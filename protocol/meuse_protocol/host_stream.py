"""What a host knows of one stream, whatever link it comes by: whose it is, what is stored, what is announced as lost.

Pure bookkeeping in memory; the program loads it from its journal and makes it durable there before it calls stored().
"""

from .auth import direction_keys
from .received import SEQ_MAX, RangeSet

PENDING_MAX = 1024  # received and not yet stored; a sender that keeps to its window stays far below
AHEAD_MAX = 65536  # how far beyond everything known an unauthenticated seq may be


class StreamState:
    """One bound stream. `keys`: the device's secrets, current first; [] for a device without one.

    received: seqs durably stored. gapped: seqs announced as lost and not stored. next_seq: what the board's last
    HELLO said it would use next, or one more than the highest stored.
    """

    def __init__(
        self,
        stream: int,
        device: str,
        keys: list[bytes],
        received: "RangeSet | None" = None,
        gapped: "RangeSet | None" = None,
        next_seq: int = 1,
    ) -> None:
        self.stream = stream
        self.device = device
        self.received = received or RangeSet()
        self.gapped = gapped or RangeSet()
        self.covered = RangeSet()  # received and gapped together: what an ACK speaks of
        for ranges in (self.received, self.gapped):
            for first, last in ranges.ranges():
                self.covered.add_range(first, last)
        self.next_seq = max(next_seq, self.received.last() + 1)
        self.pending: dict[int, bytes] = {}  # seq -> record handed to the program
        self.undecodable: list[int] = []  # sids an ERR 4 was sent for
        self.set_keys(keys)

    def set_keys(self, keys: list[bytes]) -> None:
        """Current and previous secret; what one of them verifies is authentic."""
        self.keys = [direction_keys(psk, self.stream) for psk in keys]

    @property
    def cum(self) -> int:
        """The lowest seq neither stored nor announced as lost."""
        return self.covered.cum

    def stored(self, seqs: list[int]) -> None:
        """These are durable now; they leave the gaps."""
        for seq in seqs:
            self.pending.pop(seq, None)
            self.received.add(seq)
            if not self.covered.add(seq):
                self.gapped.discard(seq)
            if seq >= self.next_seq:
                self.next_seq = seq + 1

    def gap_stored(self, first: int, last: int) -> None:
        """The announcement that first .. last are lost is durable now; what is stored stays stored."""
        for a, b in self.received.missing(first, last):
            self.gapped.add_range(a, b)
        self.covered.add_range(first, last)

    def dropped(self, seqs: list[int]) -> None:
        """These could not be stored after all; the board will send them again."""
        for seq in seqs:
            self.pending.pop(seq, None)

    def far(self, seq: int) -> bool:
        """Too far ahead to believe without a MAC."""
        return seq > self.next_seq and (seq > self.cum + AHEAD_MAX or seq > SEQ_MAX)
