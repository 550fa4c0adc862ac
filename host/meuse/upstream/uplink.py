"""One connection to the host upstream: bytes ↔ frames ↔ the forwarder. On an event loop; never waits for the wire."""

import asyncio
from collections.abc import Callable

from meuse_protocol.framing import FRAME, frame

from meuse.deframer import FastDeframer
from meuse.links import Wire
from meuse.session import MAX_E2E_BYTES, SILENCE_MS, WRITE_TOGETHER
from meuse.upstream.forwarder import Forwarder


class Uplink:
    """A Receiver. now_ms: a clock that never goes back."""

    device: str | None = None
    stranger = False

    def __init__(self, wire: Wire, forwarder: Forwarder, now_ms: Callable[[], int], gone: Callable[[], None]) -> None:
        self._wire = wire
        self._forwarder = forwarder
        self._now_ms = now_ms
        self._gone = gone
        self._deframer = FastDeframer(MAX_E2E_BYTES)
        self._sent_ms = now_ms() - SILENCE_MS
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        forwarder.link_up(now_ms())

    def receive(self, data: bytes) -> None:
        self._deframer.feed(data)
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                self._forwarder.receive(item[1], self._now_ms())
        self.pump()

    def writable(self) -> None:
        self.pump()

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._forwarder.link_down(self._now_ms())
        self._gone()

    def pump(self) -> None:
        """Send what is due as far as the wire takes it; wake up when the next thing is."""
        now_ms = self._now_ms()
        out: list[bytes] = []
        while self._wire.writable and (e2e := self._forwarder.next_packet(now_ms)) is not None:
            if now_ms - self._sent_ms >= SILENCE_MS:
                out.append(b"\0")
            self._sent_ms = now_ms
            out.append(frame(e2e))
            if len(out) >= WRITE_TOGETHER:
                self._wire.write(b"".join(out))
                out.clear()
        if out:
            self._wire.write(b"".join(out))
        self._arm(now_ms)

    def _arm(self, now_ms: int) -> None:
        due_ms = self._forwarder.deadline(now_ms) if self._wire.writable else None
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = asyncio.get_running_loop().call_later(max(due_ms - now_ms, 1) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.pump()
