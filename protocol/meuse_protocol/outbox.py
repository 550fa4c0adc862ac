"""Which record of the log goes next on one link: alarms, what was lost, the newest, the backlog.

Live first: who looks at a screen wants now, and acknowledged ranges make that order cheap. Reads
the log and changes nothing in it; knows no bytes of a record and no time.
"""

from .ranges import Ranges
from .window import PAIRS_MAX, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any, Log

URGENT_MAX = 16  # alarms that overtake; one more waits its turn in the log
LIVE_MAX = 8  # new records that overtake the backlog
PARKED_MAX = 8  # refused records that are passed over, until a GAP that names them is acknowledged
REFUSALS_MAX = 8  # a record refused so often is set aside, else it would be resent for ever
REFUSED_SEQS_MAX = 4  # whose refusals are counted
# What a link carries: nothing while another one does; alarms where the rest waits for a cheaper one.
NOTHING, ALARMS, ALL = range(3)

ISLANDS_MAX = PAIRS_MAX // 2  # an ACK names 16 ranges, the lowest: with more, fill holes first


class Outbox:
    """The order of sending. `stored`: what the host is known to have; `flight`: what is under way."""

    def __init__(self, log: "Log") -> None:
        self._log = log
        # Empty for years on most boards: no list or dict of their own until then.
        self._urgent: list[int] | tuple[()] = ()
        self._parked: list[int] | tuple[()] = ()
        self._refusals: Any = None

    def rewind(self, stored: Ranges, flight: Window) -> None:
        """Nothing is in flight: the newest record first, then all from the oldest."""
        self.stored = stored
        self.flight = flight
        self._scan = self._log.oldest()
        newest = self._log.next_seq() - 1
        self._live = [newest] if newest > self._scan else []

    def look_again(self) -> None:
        """What was passed over may be there now: from the oldest on."""
        self._scan = self._log.oldest()

    def added(self, seq: int, urgent: bool) -> None:
        """The log has a new record."""
        if urgent:
            if len(self._urgent) < URGENT_MAX:
                self._urgent = list(self._urgent) + [seq]
        elif self._scan < seq:
            self._live = self._live[1 - LIVE_MAX :] + [seq]

    def refused(self, seq: int) -> bool:
        """The host refused it by name -> True: so often that it is passed over from now on.

        The first few refused ones are counted; the others have their turn when those are set aside.
        """
        if self._refusals is None:
            self._refusals = {}
        self._parked = [parked for parked in self._parked if not self.stored.contains(parked)]
        if seq in self._refusals or len(self._refusals) < REFUSED_SEQS_MAX:
            self._refusals[seq] = self._refusals.get(seq, 0) + 1
        if self._refusals.get(seq, 0) < REFUSALS_MAX or len(self._parked) >= PARKED_MAX:
            return False
        del self._refusals[seq]
        self._parked.append(seq)
        return True

    def forget(self, seq: int) -> None:
        """This record is gone: there is nothing to send."""
        self._urgent = [urgent for urgent in self._urgent if urgent != seq] or ()
        self.flight.forget(seq)

    def choose(self, carried: int = ALL) -> int:
        """The next seq to try of what is carried, 0 when there is none; who finds it gone: forget()."""
        if carried == NOTHING:
            return 0
        if self._urgent:
            self._urgent = [seq for seq in self._urgent if not self.stored.contains(seq)] or ()
        for seq in self._urgent:
            if self._unsent(seq):
                return seq
        lost = self.flight.lost
        while lost:
            if lost[0] not in self._parked:
                return lost[0]
            lost.pop(0)
        if carried < ALL:
            return 0
        while self._live and self.stored.count() <= ISLANDS_MAX:
            seq = self._live.pop(0)
            if self._unsent(seq):
                return seq
        seq = max(self._scan, self._log.oldest())
        end = self._log.next_seq()
        while True:
            seq = self.stored.next_missing(seq)
            self._scan = min(seq + 1, end)
            if seq >= end:
                return 0
            if self._unsent(seq):
                return seq
            seq += 1

    def _unsent(self, seq: int) -> bool:
        known = self.stored.contains(seq) or self.flight.has(seq)
        return not known and seq not in self._parked
