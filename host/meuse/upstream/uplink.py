"""One connection to the host upstream: bytes ↔ frames ↔ the forwarder. On an event loop; never waits for the wire."""

from collections.abc import Callable

from meuse_protocol.framing import FRAME

from meuse.deframer import FastDeframer
from meuse.links import Wire
from meuse.sender import Sender
from meuse.session import MAX_E2E_BYTES
from meuse.upstream.forwarder import Forwarder


class Uplink(Sender):
    """A Receiver. now_ms: a clock that never goes back."""

    device: str | None = None
    stranger = False

    def __init__(self, wire: Wire, forwarder: Forwarder, now_ms: Callable[[], int], gone: Callable[[], None]) -> None:
        super().__init__(wire)
        self._forwarder = forwarder
        self._now_ms = now_ms
        self._gone = gone
        self._deframer = FastDeframer(MAX_E2E_BYTES)
        forwarder.link_up(now_ms())

    def receive(self, data: bytes) -> None:
        self._deframer.feed(data)
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                self._forwarder.receive(item[1], self._now_ms())
        self._pump()

    def lost(self) -> None:
        self._disarm()
        self._forwarder.link_down(self._now_ms())
        self._gone()

    def pump(self) -> None:
        """The forwarder has something new."""
        self._pump()

    def _pump(self) -> None:
        self._send(self._now_ms())

    def _due(self, now_ms: int) -> bytes | None:
        return self._forwarder.next_packet(now_ms)

    def _due_ms(self, now_ms: int) -> int | None:
        return self._forwarder.deadline(now_ms)
