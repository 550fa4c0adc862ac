"""What is in flight on one link: which records to send again, and when. Knows no bytes, no log.

Selective repeat with the loss inference of QUIC: an ACK that proves a transmission says that what
was sent before it, and is still missing, was lost. The timer is the last resort. Nothing here ever
gives up.
"""

from .ranges import Ranges

RTO_FIRST_MS = 1000  # before any round trip is known (RFC 6298, 2.1)
RTO_MIN_MS = 200
ACK_DELAY_MS = 250  # how long a host may hold an ACK back: part of an honest round trip
BACKOFF_MAX = 2  # doublings: 4 times; at 40 % loss 16 times costs two thirds of the goodput
RTO_RESENDS = 2  # records sent again per timeout: a probe, not a flood
DOUBTS_MAX = 3
PAIRS_MAX = 16  # (gap, run) pairs in one ACK


class Window:
    """Records sent on one link and not acknowledged yet.

    reorder: how many transmissions later one must be proved before a missing one counts as lost:
    1 where the link keeps the order, 3 where it does not.
    """

    def __init__(self, reorder: int = 1) -> None:
        self._reorder = reorder
        # (seq, order, sent_ms, clean), in the order of transmission
        self._flight: list[tuple[int, int, int, bool]] = []
        self._order = 0  # transmissions so far
        self._proved = 0  # the newest one known to have arrived
        self._since_ms = 0  # last progress or timeout: the timer runs from here at the earliest
        self.timeouts = 0  # in a row, up to BACKOFF_MAX: each doubles the next one
        self._doubted = 0  # transmissions up to this one saw a timeout
        self._doubts = 0  # ACKs in a row that could not be timed for that reason
        self._srtt_8 = -1  # smoothed round trip, 1/8 ms; -1: none measured yet
        self._rttvar_4 = 0  # its deviation, 1/4 ms
        self._rtt_min_ms = -1  # of a record until it is stored
        self.lost: list[int] = []  # to be sent again, ascending

    def __len__(self) -> int:
        return len(self._flight)

    def has(self, seq: int) -> bool:
        """Is it in flight, or waiting to be sent again?"""
        for item in self._flight:
            if item[0] == seq:
                return True
        return seq in self.lost

    @property
    def rto_ms(self) -> int:
        """Retransmission timeout without backoff."""
        if self._srtt_8 < 0:
            return RTO_FIRST_MS + ACK_DELAY_MS
        return max(RTO_MIN_MS, (self._srtt_8 >> 3) + self._rttvar_4) + ACK_DELAY_MS

    def sent(self, seq: int, now_ms: int, clean: bool) -> None:
        """A record was handed to the link.

        clean: nobody can have seen it before, so that its ACK may be timed (Karn's rule).
        """
        if seq in self.lost:
            self.lost.remove(seq)
            clean = False
        if not self._flight:
            self._since_ms = now_ms
        self._order += 1
        self._flight.append((seq, self._order, now_ms, clean))

    def acked(self, stored: Ranges, now_ms: int, limit: int) -> int:
        """Drops what is stored, moves to `lost` what the ACK proves lost; -> how many were news.

        limit: the highest seq this ACK speaks of (it names 16 ranges at most, the lowest).
        """
        kept = []
        timed = doubted = -1
        for item in self._flight:
            seq, order, sent_ms, clean = item
            if not stored.contains(seq):
                kept.append(item)
                continue
            if clean and order > self._doubted:
                timed = sent_ms
            elif clean:
                doubted = sent_ms
            # The ACK of a record sent twice may be for the first copy: it proves the second only
            # when an answer had the time to come back.
            if clean or 0 <= self._rtt_min_ms * 9 <= (now_ms - sent_ms) * 10:
                self._proved = max(self._proved, order)
        news = len(self._flight) - len(kept)
        if news:
            self._since_ms = now_ms
        self._measure(timed, doubted, now_ms)
        edge = self._proved - self._reorder
        lost = [item[0] for item in kept if item[1] <= edge and item[0] <= limit]
        self._flight = [item for item in kept if item[0] not in lost]
        self.lost = sorted([seq for seq in self.lost if not stored.contains(seq)] + lost)
        return news

    def _measure(self, timed: int, doubted: int, now_ms: int) -> None:
        """Learns from what an ACK was news of: when the newest was sent, with and without doubt.

        After a timeout the answer may be to what was sent again, because an ACK was lost, and the
        time since the first copy would be too long. Only when that goes on is the line slow.
        """
        if timed < 0 and doubted >= 0:
            self._doubts += 1
            if self._doubts >= DOUBTS_MAX:
                timed = doubted
        if timed >= 0:
            self._doubts = self.timeouts = 0
            rtt_ms = now_ms - timed
            if self._rtt_min_ms < 0 or rtt_ms < self._rtt_min_ms:
                self._rtt_min_ms = rtt_ms
            self.sample(rtt_ms)

    def sample(self, rtt_ms: int) -> None:
        """One round trip that was measured without doubt (RFC 6298, in integers)."""
        if self._srtt_8 < 0:
            self._srtt_8 = rtt_ms << 3
            self._rttvar_4 = rtt_ms << 1
            return
        error = rtt_ms - (self._srtt_8 >> 3)
        self._srtt_8 += error
        self._rttvar_4 += abs(error) - (self._rttvar_4 >> 2)

    def deadline(self) -> "int | None":
        """When to send the oldest again for want of any ACK; None when nothing is in flight."""
        if not self._flight:
            return None
        return max(self._since_ms, self._flight[0][2]) + (self.rto_ms << self.timeouts)

    def expire(self, now_ms: int) -> None:
        """The deadline has passed: the two oldest go again, and the next one waits longer."""
        self.lost = sorted(self.lost + [item[0] for item in self._flight[:RTO_RESENDS]])
        self._flight = self._flight[RTO_RESENDS:]
        self._since_ms = now_ms
        self._doubted = self._order
        self.timeouts = min(self.timeouts + 1, BACKOFF_MAX)

    def forget(self, seq: int) -> bool:
        """There is nothing to send again, or it is sent anew now -> whether it was known here."""
        before = len(self._flight) + len(self.lost)
        self._flight = [item for item in self._flight if item[0] != seq]
        self.lost = [item for item in self.lost if item != seq]
        return len(self._flight) + len(self.lost) < before

    def put_back(self) -> None:
        """Everything counts as unsent; what is known of the link's round trip stays."""
        self._flight = []
        self.lost = []
        self.timeouts = 0
