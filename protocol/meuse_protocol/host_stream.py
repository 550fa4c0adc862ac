"""What a host knows of one stream, whatever link it comes by: whose it is, what is stored or lost.

Pure bookkeeping in memory. The program loads it from its journal, and makes everything durable
there before it says so here.
"""

from .assembly import Assembly
from .auth import direction_keys
from .errors import RemoteError
from .received import RangeSet
from .sealing import seal_key, unseal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any, Ecb

PENDING_MAX = 1024  # received, not yet stored; who keeps to its window stays far below
AHEAD_MAX = 65536  # how far beyond everything known a seq without a MAC may be


def stream_keys(psk: bytes, stream: int) -> "tuple[Any, Any, bytes]":
    """What a device's secret becomes for one stream: up, down (auth), and the key of what is sealed."""
    return direction_keys(psk, stream) + (seal_key(psk, stream),)


class StreamState:
    """One bound stream. `keys`: the device's secrets, current first; [] for a device without.

    received: seqs durably stored. gapped: seqs announced as lost, and not stored. next_seq: what
    the last HELLO said the board would use next, or one more than the highest stored.
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
        self.gapped = RangeSet()
        self.covered = RangeSet()  # received and gapped together: what an ACK speaks of
        for first, last in self.received.ranges():
            self.covered.add_range(first, last)
        for first, last in gapped.ranges() if gapped else ():
            self.gap_stored(first, last)
        self.next_seq = max(next_seq, self.received.last() + 1)
        self.pending: dict[int, bytes] = {}  # seq -> record that the program has in hand
        self.parts = Assembly()
        self.undecodable: set[int] = set()  # sids an ERR 4 was sent for
        self.set_keys(keys)

    def set_keys(self, keys: list[bytes]) -> None:
        """Current and previous secret; what one of them verifies is authentic."""
        self.keys = [stream_keys(psk, self.stream) for psk in keys]

    def prefer(self, i: int) -> None:
        """The board uses this one of its keys: tried first from now on, and for what goes down."""
        self.keys.insert(0, self.keys.pop(i))

    def unsealed(self, ecb: "Ecb", record: bytes) -> bytes:
        """R of what a SEALED record hides; itself if it cannot be opened: it is stored all the same."""
        try:
            return unseal(ecb, self.stream, record)
        except RemoteError:
            return record

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
        """It is durable that first .. last are lost; what is stored of them stays stored."""
        for begin, end in self.received.missing(first, last):
            self.gapped.add_range(begin, end)
        self.covered.add_range(first, last)

    def dropped(self, seqs: list[int]) -> None:
        """These could not be stored after all; the board will send them again."""
        for seq in seqs:
            self.pending.pop(seq, None)

    def holes(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of first .. last is neither stored, nor announced as lost, nor in hand."""
        found = []
        for begin, end in self.covered.missing(first, last):
            for seq in sorted(self.pending):
                if begin <= seq <= end:
                    if begin < seq:
                        found.append((begin, seq - 1))
                    begin = seq + 1
            if begin <= end:
                found.append((begin, end))
        return found

    def is_new(self, seq: int) -> bool:
        """Nothing is known of this seq yet."""
        return seq not in self.pending and not self.covered.contains(seq)

    def is_far(self, seq: int) -> bool:
        """Too far ahead to be believed without a MAC."""
        return seq > self.next_seq and seq > self.cum + AHEAD_MAX
