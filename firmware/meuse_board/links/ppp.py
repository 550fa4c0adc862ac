"""An ordinary link over a cellular modem's PPP (ppp.py): of the kind that `over` says, tcp or mqtt.

Owns when that link may speak, and when a call through which nothing comes is given up. Refuses to know packets.
"""

from ..loading import load

SILENT_MS = 60_000  # a call is up, and the link over it is not: several attempts to connect


class Link:
    """Beside what stands here: the attributes of the link over it."""

    cost = 80
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        self._line = load("modem").shared(settings, hardware, random_u32, load("ppp").Line)
        self._line.host = settings["host"]
        self._inner = load("links." + settings.get("over", "tcp")).Link(settings, self._line, random_u32)
        self.name = "cellular, by PPP: " + self._inner.name
        self.overhead = self._inner.overhead + 46  # TCP/IP of what acknowledges it, and some that go twice
        self._since_ms = None  # the call is up since, or the link over it was last up

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def open(self, now: int) -> None:
        self._line.open()
        self._inner.open(now)

    def close(self, now: int) -> None:
        self._inner.close(now)
        self._line.close()

    @property
    def up(self) -> bool:
        return self._line.up and self._inner.up

    @property
    def problem(self):
        return self._line.problem or self._inner.problem

    @property
    def signal(self) -> str:
        return self._line.signal

    @property
    def due_ms(self) -> int:
        line, inner = self._line, self._inner
        return min(line.due_ms, inner.due_ms) if line.up else line.due_ms

    def receive(self, now: int):
        line, inner = self._line, self._inner
        line.step(now)
        if not line.up:
            if self._since_ms is not None:
                self._since_ms = None
                inner.close(now)  # its connection went with the call
            return None
        if self._since_ms is None or inner.up:
            self._since_ms = now
        elif now - self._since_ms >= SILENT_MS:
            self._since_ms = now
            line.hang_up()
        packet = inner.receive(now)
        if packet:
            line.good()
        return packet
