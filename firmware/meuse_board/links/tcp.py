"""TCP to a host, with TLS where the settings say so: cuts the stream of one connection into frames.

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
        kind = "tls" if settings.get("tls") else "tcp"
        self.name = "%s to %s:%d" % (kind, settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1024)
        self.problem = None
        if settings.get("tls"):
            self.overhead += 29  # header, nonce and tag of a TLS 1.2 record
        self._dial = Dial(settings, hardware, random_u32)
        self._stream = None
        self._deframer = None
        self._more = False  # something was read in this step
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
        self.pollable = self._stream = self._deframer = None
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
        if self.up:
            return self._guard(self._next, now)
        if now >= self.due_ms:
            self._guard(self._connect, now)
        return None

    def _guard(self, act, now: int):
        try:
            return act(now)
        except OSError as problem:
            self.problem = str(problem)
            self.close(now)
            return None

    def _connect(self, now: int) -> None:
        self._stream = self._dial.step(now)
        if self._stream and self._dial.begin(b"\0", now):  # the delimiter that opens a stream
            self.pollable = self._dial.pollable
            self._deframer = Deframer(self.mtu + 16, False)
            self._more = False
            self.connects += 1
            self.up = True
            self.problem = None
        self.due_ms = self._dial.due_ms

    def _next(self, now: int):
        self._write(now)
        while True:
            item = self._deframer.next()
            if item is None:
                if self._more:  # a peer that never stops must not keep the board from its sensors
                    self._more = False
                    self.due_ms = now
                    return None
                data = self._stream.read(CHUNK)
                if data is None:
                    self.due_ms = now + (10 if self._out else 1000)
                    return None
                if not data:
                    raise OSError(errno.ECONNRESET)
                self._more = True
                self._deframer.feed(data)
            elif item[0] == FRAME:
                self.received += 1
                return item[1]
            else:
                self.damaged += 1

    def _write(self, now: int) -> None:
        if self._out:
            self._out = self._out[self._stream.write(self._out) or 0 :]
