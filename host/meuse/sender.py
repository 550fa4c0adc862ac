"""What goes out on one wire: what is due, as far as the wire takes it, and a timer for what is due next.

Knows how packets become bytes of the wire, not what they mean: they come from whoever derives from it, session.py and
upstream/uplink.py. On an event loop; never waits for the wire.
"""

import asyncio

from meuse_protocol.framing import frame

from meuse.links import Wire

# After so long without a byte sent the other side may have missed a delimiter: begin with one.
SILENCE_MS = 1000

# Packets joined into one write; the wire says after each whether it takes more.
WRITE_TOGETHER = 16


class Sender:
    """`_pump` calls `_send`, which asks `_due` for packets. Thousands of them: slots, also in what derives."""

    __slots__ = ("_sent_ms", "_timer", "_timer_ms", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._sent_ms = -SILENCE_MS
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0

    def writable(self) -> None:
        """The wire takes bytes again."""
        self._pump()

    def _pump(self) -> None:
        """Look at the clock and `_send`, unless the wire is lost."""
        raise NotImplementedError

    def _due(self, now_ms: int) -> bytes | None:
        """The packet (E2E) that goes next, None when there is none; only asked while the wire is writable."""
        raise NotImplementedError

    def _due_ms(self, now_ms: int) -> int | None:
        """When something will be due by itself, None: not before something comes."""
        raise NotImplementedError

    def _send(self, now_ms: int) -> None:
        """Send what is due as far as the wire takes it; wake up when the next thing is."""
        if self._wire.packets:
            while self._wire.writable and (e2e := self._due(now_ms)) is not None:
                self._wire.write(e2e)
        else:
            self._send_frames(now_ms)
        self._arm(now_ms)

    def _send_frames(self, now_ms: int) -> None:
        out: list[bytes] = []
        while self._wire.writable and (e2e := self._due(now_ms)) is not None:
            if now_ms - self._sent_ms >= SILENCE_MS:
                out.append(b"\0")
            self._sent_ms = now_ms
            out.append(frame(e2e))
            if len(out) >= WRITE_TOGETHER:
                self._wire.write(b"".join(out))
                out.clear()
        if out:
            self._wire.write(b"".join(out))

    def _arm(self, now_ms: int) -> None:
        due_ms = self._due_ms(now_ms) if self._wire.writable else None
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return  # a timer that fires early finds nothing to do and is armed again
        self._disarm()
        self._timer_ms = due_ms
        delay_s = max(due_ms - now_ms, 1) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._pump()
