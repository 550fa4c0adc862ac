"""The board's endpoint where several links share a stream, or one needs more; other boards need not load it."""


from .board_endpoint import PROBE_MS, BoardEndpoint
from .messages import PING
from .states import READY


class SharedEndpoint(BoardEndpoint):
    """One of several BoardEndpoints of a stream: what is known to one is known to all.

        other.join(first)                        # before link_up, on every one but the first
        first.carry(NOTHING, now_ms)             # outbox: NOTHING, ALARMS or ALL
        other.carry(ALL, now_ms)
    """

    def join(self, other: BoardEndpoint) -> None:
        """Both serve one stream: what the host has, the time and the schemas are known to both."""
        self._stored = other._stored
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

    def ping(self, now_ms: int) -> None:
        """Asks a host that knows us for an ACK: what forgets idle ways (a NAT) is reminded of ours."""
        if self.state == READY:
            self._due[PING] = now_ms
            self._gap[PING] = PROBE_MS
