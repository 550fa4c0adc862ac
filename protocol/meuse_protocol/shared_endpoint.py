"""The board's endpoint where several links share a stream; a board with one link need not load it."""

from .board_endpoint import BoardEndpoint


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

    @property
    def timeouts(self) -> int:
        """Timeouts in a row without news of any record, counted up to 2: is this link dead?"""
        return self._flight.timeouts
