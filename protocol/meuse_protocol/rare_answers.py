"""The board's end of a link on which answers are dear and come seldom (LoRaWAN): it asks, and waits for no timer.

Adds to SharedEndpoint: nothing is sent again because time has passed. The host says by itself what it has after a
number of records; when more than that are on their way, or the last one has been for long, a PING asks. What was sent
before it and is not in the answer was lost, since such links keep the order. The time is asked for a few times a day.
"""

from .messages import PING, TIMEQ
from .ranges import Ranges
from .shared_endpoint import Handed, SharedEndpoint
from .states import READY

ASK_AFTER = 12  # records without an ACK: the host sends one for every eighth
ASK_LATE_MS = 7200000  # or for so long: the host sends one an hour after a record
ASK_AGAIN_MS = 60000  # at first; then twice as long, up to 5 minutes
TIME_EACH_MS = 21600000
TIME_AGAIN_MS = 600000


class Asked(Handed):
    """What is in flight, by what was asked of the host."""

    def begin_anew(self, reorder: int) -> None:
        super().begin_anew(reorder)
        self._asked = 0  # transmissions before the last PING

    def deadline(self) -> "int | None":
        return None

    def oldest(self) -> "int | None":
        """When the oldest was sent, in ms; None when nothing is in flight."""
        return self._flight[0][2] if self._flight else None

    def begin(self) -> None:
        """The host is asked now: what its answer does not name has not arrived."""
        self._asked = self._order

    def acked(self, stored: Ranges, now_ms: int, limit: int) -> int:
        news = super().acked(stored, now_ms, limit)
        lost = [item[0] for item in self._flight if item[1] <= self._asked and item[0] <= limit]
        if lost:
            self._flight = [item for item in self._flight if item[0] not in lost]
            self.lost = sorted(self.lost + lost)
        self._asked = 0
        return news


class RareEndpoint(SharedEndpoint):
    """See BoardEndpoint and SharedEndpoint."""

    Flight = Asked

    def _reset(self, now_ms: int, mtu: int, nonce: int, ordered: bool) -> None:
        super()._reset(now_ms, mtu, nonce, ordered)
        self._time_ms = now_ms

    def next_pdu(self, now_ms: int) -> "bytes | None":
        self._ask(now_ms)
        return super().next_pdu(now_ms)

    def deadline(self) -> "int | None":
        due_ms = super().deadline()
        oldest_ms: int | None = self._handed.oldest()
        if self.state != READY or oldest_ms is None or PING in self._due:
            return due_ms
        return oldest_ms + ASK_LATE_MS if due_ms is None else min(due_ms, oldest_ms + ASK_LATE_MS)

    def _ask(self, now_ms: int) -> None:
        oldest_ms = self._handed.oldest()
        if self.state != READY or PING in self._due or oldest_ms is None:
            return
        if len(self._flight) >= ASK_AFTER or now_ms - oldest_ms >= ASK_LATE_MS:
            self._due[PING] = now_ms
            self._gap[PING] = ASK_AGAIN_MS

    def _control(self, kind: int, now_ms: int) -> bytes:
        pdu = super()._control(kind, now_ms)
        if kind == PING and self.state == READY:
            self._handed.begin()
            self._due[PING] = now_ms + self._gap[PING]
        return pdu

    def _ack(self, fields: "list[object]", now_ms: int) -> None:
        super()._ack(fields, now_ms)
        if self.state == READY:
            self._due.pop(PING, None)

    def _ask_time(self, at_ms: int) -> None:
        at_ms = max(at_ms, self._time_ms)
        self._time_ms = at_ms + TIME_EACH_MS
        super()._ask_time(at_ms)
        self._gap[TIMEQ] = TIME_AGAIN_MS
