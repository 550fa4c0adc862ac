"""The board's endpoint where several links share a stream, or one needs more; other boards need not load it."""

from .board_endpoint import PROBE_MS, BoardEndpoint
from .messages import PING
from .states import READY
from .window import RTO_FIRST_MS, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

ELSEWHERE_MAX = 64  # two windows: what two links that failed had in flight
GREETED_MAX_MS = 16000  # a WELCOME that took longer says that nobody was there, not how far it is


class Handed(Window):
    """What is in flight on one of several links.

    elsewhere: seqs that were in flight when a link was left. The host may have them: an ACK that
    comes soon after they went here is no measure of this link, and proves nothing.
    """

    def __init__(self, elsewhere: "list[int]") -> None:
        super().__init__()
        self.elsewhere = elsewhere
        self._guessed = False

    def begin_anew(self, reorder: int) -> None:
        """A new connection of this link, whose round trip is as it was."""
        kept = self._srtt_8, self._rttvar_4, self._rtt_min_ms
        super().__init__(reorder)
        self._srtt_8, self._rttvar_4, self._rtt_min_ms = kept

    def sent(self, seq: int, now_ms: int, clean: bool) -> None:
        super().sent(seq, now_ms, clean and seq not in self.elsewhere)

    def guess(self, bound_ms: int) -> None:
        """A round trip is no longer than this: the first timeout, until one is measured."""
        if self._srtt_8 < 0:
            super().sample(bound_ms // 3)  # makes an RTO of bound_ms
            self._guessed = True

    def sample(self, rtt_ms: int) -> None:
        """See Window: a guess counts no more."""
        if self._guessed:
            self._guessed = False
            self._srtt_8 = -1
        super().sample(rtt_ms)

    def put_back(self) -> None:
        """See Window: and it may be sent on another link now."""
        left = [item[0] for item in self._flight] + self.lost
        if left:
            self.elsewhere[:] = (left + self.elsewhere)[:ELSEWHERE_MAX]
        super().put_back()


class SharedEndpoint(BoardEndpoint):
    """One of several BoardEndpoints of a stream: what is known to one is known to all.

        other.join(first)                        # before link_up, on every one but the first
        first.carry(NOTHING, now_ms)             # outbox: NOTHING, ALARMS or ALL
        other.carry(ALL, now_ms)
    """

    Flight = Handed

    _handed: "Any" = None  # what is in flight here

    def _reset(self, now_ms: int, mtu: int, nonce: int, ordered: bool) -> None:
        super()._reset(now_ms, mtu, nonce, ordered)
        if self._handed is None:
            self._handed = self.Flight([])
        self._greets_ms = now_ms
        self._handed.begin_anew(1 if ordered else 3)
        self._flight = self._handed
        self._outbox.rewind(self._stored, self._flight)

    def join(self, other: "SharedEndpoint") -> None:
        """Both serve one stream: what the host has, the time and the schemas are known to both."""
        self._stored = other._stored
        self._handed = self.Flight(other._handed.elsewhere)
        self.time = other.time
        self.schemas = other.schemas

    def carry(self, carried: int, now_ms: int) -> None:
        """NOTHING, ALARMS or ALL of the records go over this link from now on; HELLO always does.

        What is in flight here and is not carried any more counts as unsent: on another link.
        """
        if carried < self._carried:
            self._flight.put_back()
        if carried != self._carried:
            self._carried = carried
            self._outbox.rewind(self._stored, self._flight)

    def silent_ms(self, now_ms: int) -> int:
        """For how long records have been in flight without any answer, two timeouts at least; else 0.

        One timeout is a lost packet or two; so is a second one, if the last answer is not long ago.
        """
        if self._flight.timeouts < 2 or not self._flowing():
            return 0
        return now_ms - max(self._heard_ms, self._waiting_ms)

    def _welcome(self, fields: "list[Any]", now_ms: int) -> None:
        """See BoardEndpoint. Of several HELLOs any may be the one it answers: no measure, but a bound."""
        waited_ms = now_ms - self._greets_ms
        super()._welcome(fields, now_ms)
        if RTO_FIRST_MS < waited_ms <= GREETED_MAX_MS:
            self._handed.guess(waited_ms)

    def ping(self, now_ms: int) -> None:
        """Asks a host that knows us for an ACK: what forgets idle ways (a NAT) is reminded of ours."""
        if self.state == READY:
            self._due[PING] = now_ms
            self._gap[PING] = PROBE_MS
