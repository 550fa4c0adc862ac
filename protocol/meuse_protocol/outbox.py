"""Which record of the log goes next on one link: alarms, what was lost, the newest, the backlog.

Live first: who looks at a screen wants now, and acknowledged ranges make that order cheap. Reads
the log and changes nothing in it; knows no bytes of a record and no time.
"""

from .ranges import Ranges
from .window import PAIRS_MAX, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Log

URGENT_MAX = 16  # alarms that overtake; one more waits its turn in the log
LIVE_MAX = 8  # new records that overtake the backlog
PARKED_MAX = 8  # refused records that are passed over
ISLANDS_MAX = PAIRS_MAX // 2  # an ACK names 16 ranges, the lowest: with more, fill holes first


class Outbox:
    """The order of sending. `stored`: what the host is known to have; `flight`: what is under way."""

    def __init__(self, log: "Log") -> None:
        self._log = log
        self._urgent: list[int] = []
        self._parked: list[int] = []

    def rewind(self, stored: Ranges, flight: Window) -> None:
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

    def choose(self) -> int:
        """The next seq to try, 0 when there is none. Who finds it gone tells flight.forget()."""
        while self._urgent:
            seq = self._urgent.pop(0)
            if self._unsent(seq):
                return seq
        lost = self.flight.lost
        while lost:
            if lost[0] not in self._parked:
                return lost[0]
            lost.pop(0)
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
