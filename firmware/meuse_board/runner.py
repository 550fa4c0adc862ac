"""Joins one link to one endpoint: receive, drain events, write, say when to come again. Nothing else, on purpose.

A supervisor over several links runs one of these for each and decides which of them the endpoint is told of; a link
without an endpoint carries the console only.
"""

from meuse_protocol.states import DOWN, QUIET

PACKETS = 8  # taken in one step: whoever sends more waits until sensors and flash have had their turn


class Runner:
    """A link with serve() takes records from the log itself: the endpoint hears its packets, and sends none there.

    `on_event(event, now_ms)` gets the endpoint's events one at a time; random_u32() makes the nonce of a link-up."""

    def __init__(self, link, on_event, random_u32):
        self.link = link
        self.heard_ms = None  # last packet
        self.endpoint = None  # of the stream, on a link that carries it
        self.allowance = None  # of a link that may cost so many bytes only
        self._on_event = on_event
        self._random_u32 = random_u32
        self._doubted = False
        self._keep_alive_ms = getattr(link, "keep_alive_ms", 0)
        self._sent_ms = 0

    def step(self, now: int) -> int:
        """Moves everything that can move; returns the uptime at which to call again."""
        link, endpoint = self.link, self.endpoint
        packet = link.receive(now)
        taken = 0
        while packet is not None:
            taken += 1
            self.heard_ms = now
            if self.allowance:
                self.allowance.spend(len(packet))
            if endpoint:
                endpoint.receive(packet, now)
                self._drain(now)
            packet = link.receive(now) if taken < PACKETS else None
        wake_ms = link.due_ms if taken < PACKETS else now
        if endpoint and not hasattr(link, "serve"):
            self._edge(now)
            if self._keep_alive_ms and now - self._sent_ms >= self._keep_alive_ms:
                endpoint.ping(now)
            if link.up and link.room(now):
                wake_ms = self._send(now, wake_ms)
            quiet = endpoint.state == QUIET
            if quiet and not self._doubted:
                link.doubt(now)
            self._doubted = quiet
            self._edge(now)
        return min(wake_ms, link.due_ms)  # which sending may have brought nearer

    def _edge(self, now: int) -> None:
        """Tells the endpoint that the link went up or down."""
        link, endpoint = self.link, self.endpoint
        if link.up != (endpoint.state != DOWN):
            if link.up:
                endpoint.link_up(now, link.mtu, self._random_u32(), link.ordered)
            else:
                endpoint.link_down(now)
            self._drain(now)

    def _send(self, now: int, wake_ms: int) -> int:
        link, endpoint = self.link, self.endpoint
        while link.up and link.room(now):
            packet = endpoint.next_pdu(now)
            if packet is None:
                due_ms = endpoint.deadline()
                return wake_ms if due_ms is None else min(wake_ms, due_ms)
            link.send(packet, now)
            if self.allowance:
                self.allowance.spend(len(packet))
            self._sent_ms = now
        self._drain(now)
        return min(wake_ms, now + 5)

    def _drain(self, now: int) -> None:
        event = self.endpoint.next_event()
        while event:
            self._on_event(event, now)
            event = self.endpoint.next_event()
