"""Which record of the log goes out next on one link: alarms, what was lost, the newest, then the backlog.

Live first: who looks at a screen wants now, and acknowledged ranges make the order cheap. Reads the log, changes
nothing in it; knows no bytes of a record and no time.
"""

from .received import RangeSet
from .window import PAIRS_MAX, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Log

URGENT_MAX = 16  # alarms that overtake; one more waits its turn in the log
LIVE_MAX = 8  # new records that overtake the backlog
PARKED_MAX = 8  # refused records that are passed over
ISLANDS_MAX = PAIRS_MAX // 2  # an ACK names the 16 lowest ranges: with more islands than this, fill holes first


class Outbox:
    """The order of sending. `stored` is what the host is known to have, `flight` what is under way."""

    def __init__(self, log: "Log") -> None:
        self._log = log
        self._urgent: list[int] = []
        self._parked: list[int] = []
        self.rewind(RangeSet(), Window())

    def rewind(self, stored: RangeSet, flight: Window) -> None:
        """Nothing is in flight: the newest record first, then all from the oldest."""
        self.stored = stored
        self.flight = flight
        self._scan = self._log.oldest()
        newest = self._log.next_seq() - 1
        self._live = [newest] if newest > self._scan else []

    def added(self, seq: int, urgent: bool) -> None:
        """The log has a new record."""
        if urgent:
            if len(self._urgent) < URGENT_MAX:
                self._urgent.append(seq)
        elif self._scan < seq:
            self._live = self._live[1 - LIVE_MAX :] + [seq]

    def park(self, seq: int) -> None:
        """Passes this record over until the program starts again."""
        self._parked = self._parked[1 - PARKED_MAX :] + [seq]
        self.flight.forget(seq)

    def choose(self) -> int:
        """The next seq to try, 0 when there is none. The caller sends it or finds that the log has it no more."""
        while self._urgent:
            seq = self._urgent.pop(0)
            if self._unsent(seq):
                return seq
        if self.flight.lost:
            return self.flight.lost[0]
        while self._live and self.stored.count() <= ISLANDS_MAX:
            seq = self._live.pop(0)
            if self._unsent(seq):
                return seq
        end = self._log.next_seq()
        self._scan = max(self._scan, self._log.oldest())
        while self._scan < end:
            seq = self.stored.next_missing(self._scan)
            self._scan = seq + 1
            if seq < end and self._unsent(seq):
                return seq
        return 0

    def _unsent(self, seq: int) -> bool:
        return not (self.stored.contains(seq) or self.flight.has(seq) or seq in self._parked)
