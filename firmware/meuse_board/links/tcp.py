"""TCP to a host: cuts the stream of one connection into frames, and connects again with back-off.

Refuses to know what a packet means, and when a silent host is dead: the runner says so with doubt(), since only
acknowledgements prove that a host stores. How a connection comes about is dial.py's business.
"""

import errno

from meuse_protocol.framing import FRAME, Deframer, frame

from .dial import Dial

CHUNK = 512


class Link:
    cost = 10
    ordered = True
    overhead = 46

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "tcp to %s:%d" % (settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1024)
        self._dial = Dial(settings, hardware, random_u32)
        self._deframer = None
        self._out = b""
        self.up = False
        self.pollable = None  # the socket
        self.due_ms = 0
        self.sent = self.received = self.damaged = self.connects = 0

    def open(self, now: int) -> None:
        pass  # receive() connects when due_ms comes

    def doubt(self, now: int) -> None:
        """The connection is half open, or its host is not there any more: drop it, connect again after the back-off."""
        self.close(now)

    def close(self, now: int) -> None:
        self._dial.close(now)
        self.pollable = self._deframer = None
        self.up = False
        self._out = b""
        self.due_ms = self._dial.due_ms

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return not self._out

    def send(self, e2e: bytes, now: int) -> None:
        self._out = frame(e2e)
        self.sent += 1
        self._guard(self._write, now)

    def receive(self, now: int):
        return self._guard(self._next if self.up else self._connect, now)

    def _guard(self, act, now: int):
        try:
            return act(now)
        except OSError:
            self.close(now)
            return None

    def _connect(self, now: int) -> None:
        if self._dial.step(now):
            self.pollable = self._dial.pollable
            self._deframer = Deframer(self.mtu + 16, False)
            self.connects += 1
            self.up = True
        self.due_ms = self._dial.due_ms

    def _next(self, now: int):
        self._write(now)
        while True:
            item = self._deframer.next()
            if item is None:
                data = self.pollable.read(CHUNK)
                if data is None:
                    self.due_ms = now + (10 if self._out else 1000)
                    return None
                if not data:
                    raise OSError(errno.ECONNRESET)
                self._deframer.feed(data)
            elif item[0] == FRAME:
                self.received += 1
                return item[1]
            else:
                self.damaged += 1

    def _write(self, now: int) -> None:
        if self._out:
            self._out = self._out[self.pollable.write(self._out) or 0 :]
