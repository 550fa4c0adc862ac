"""HTTP for networks that let nothing else through: frames in a POST, the host's answer to them in the reply.

One request at a time on a connection that is kept; an empty one every `poll` asks what the host has to say. The link is
up once the host has answered. A reply that never came is a link that went down: what was in it comes again. Owns
requests and replies; refuses to know what a packet means, and how a connection comes about (dial.py).
"""

import errno

from meuse_protocol.framing import FRAME, Deframer, frame

from .dial import Dial

CHUNK = 512
HEAD_BYTES = 2048  # a reply's status and headers; proxies like to add some
BODY_BYTES = 4096  # of frames in one request
REPLY_MS = 30_000
AGAIN_MS = 1000  # after frames that were not answered yet: their records are being stored


class Link:
    cost = 30
    overhead = 340  # one packet in a request of its own: both heads, and TCP
    ordered = True
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        host = "%s:%d" % (settings["host"], settings["port"])
        path = "/v1/link/" + settings["device"]
        self.name = "http to " + host
        self.mtu = settings.get("max_pdu", 1024)
        self.problem = None
        proxy = settings.get("proxy")
        if proxy:
            self.name += " by " + proxy
            path = "http://" + host + path
            settings = dict(settings)
            settings["host"], port = proxy.split(":")
            settings["port"] = int(port)
        # Under this number the host knows the link from one request to the next.
        self._head = "POST %s HTTP/1.1\r\nHost: %s\r\nMeuse-Link: %08x\r\n" % (path, host, random_u32())
        self._head += "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
        self._poll_ms = settings.get("poll_ms", 60_000)
        self._most = settings.get("body_bytes", BODY_BYTES)
        self._dial = Dial(settings, hardware, random_u32)
        self._stream = None
        self._deframer = Deframer(self.mtu + 16, False)
        self._body = bytearray()  # frames for the next request
        self._forget()
        self._keep = True  # the connection, after this reply
        self._asked_ms = self._poll_at = 0
        self.up = False
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def _forget(self) -> None:
        self._request = b""  # the one under way
        self._at = 0  # so much of it is written
        self._reply = b""  # its reply's head, as far as it has come
        self._left = None  # bytes of its body that are still to come, once the head is known
        self._carries = False  # frames that wait for an answer
        self._used = False  # the connection has carried a request before

    def open(self, now: int) -> None:
        pass  # receive() connects when due_ms comes

    def doubt(self, now: int) -> None:
        """Somebody answers, but stores nothing: a new connection may lead to another."""
        self.close(now)

    def close(self, now: int) -> None:
        self._dial.close(now)
        self._forget()
        self._stream = self.pollable = None
        self._body[:] = b""
        self._deframer = Deframer(self.mtu + 16, False)
        self.up = False
        self.due_ms = self._poll_at = self._dial.due_ms

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return len(self._body) + self.mtu + 32 <= self._most

    def send(self, e2e: bytes, now: int) -> None:
        self._body += frame(e2e)
        self.sent += 1
        self.due_ms = now

    def receive(self, now: int):
        try:
            return self._next(now)
        except OSError as problem:
            self.problem = str(problem)
            self.close(now)
            return None

    def _next(self, now: int):
        while True:
            item = self._deframer.next()
            if item is None:
                if not self._move(now):
                    return None
            elif item[0] == FRAME:
                self.received += 1
                return item[1]
            else:
                self.damaged += 1

    def _move(self, now: int) -> bool:
        """One step of the request under way, or of the next; whether there may be another at once."""
        if not self._request:
            if not self._body and now < self._poll_at:
                self.due_ms = self._poll_at
                return self._idle(now)
            self._request = (self._head % (len(self._body) + 1)).encode() + b"\0" + self._body
            self._carries = bool(self._body)
            self._body[:] = b""
            self._asked_ms = now
        if now - self._asked_ms > REPLY_MS:
            raise OSError(errno.ETIMEDOUT)
        self._stream = self._dial.step(now)
        self.pollable = self._dial.pollable
        self.due_ms = now + 20
        if self._stream and self._at < len(self._request):
            self._write(now)
        elif self.up and self._stream:
            self.due_ms = now + 500  # the reply wakes the board
        return bool(self._at and self._read(now))

    def _idle(self, now: int) -> bool:
        """Between two requests nothing comes but the end of the connection, of which the next one takes a new one."""
        if self._stream and self._stream.read(CHUNK) is not None:
            self._hang_up(now)
        return False

    def _hang_up(self, now: int) -> None:
        self._dial.hang_up(now)
        self._stream = self.pollable = None
        self._used = False

    def _write(self, now: int) -> None:
        try:
            piece = self._request[self._at :]
            self._at += (self._stream.write(piece) if self._used else self._dial.begin(piece, now)) or 0
        except OSError:
            if not self._used:
                raise
            self._again(now)

    def _again(self, now: int) -> None:
        """A kept connection was closed while the request was on its way: the request goes again, on a new one."""
        self._at = 0
        self._hang_up(now)

    def _read(self, now: int) -> bool:
        try:
            data = self._stream.read(CHUNK)
        except OSError:
            data = b""
        if data is None:
            return False
        if not data:
            if not self._used or self._reply or self._left is not None:
                raise OSError(errno.ECONNRESET)
            self._again(now)
            return True
        if self._left is None:
            data = self._take_head(data)
        if self._left is not None:
            self._deframer.feed(data[: self._left])
            self._left -= len(data)
            if self._left <= 0:
                self._answered(now)
        return True

    def _take_head(self, data: bytes) -> bytes:
        """Looks for the end of the reply's head -> what follows it. OSError: no reply that brings frames."""
        self._reply += data
        end = self._reply.find(b"\r\n\r\n")
        if end < 0:
            if len(self._reply) > HEAD_BYTES:
                raise OSError("this is no HTTP")
            return b""
        rest = self._reply[end + 4 :]
        lines = bytes(self._reply[:end]).lower().split(b"\r\n")
        status = lines[0].split(b" ")
        if status[0][:5] != b"http/" or status[1:2] != [b"200"]:
            raise OSError("the host answers: %s" % lines[0][:60])
        self._keep = b"connection: close" not in lines and status[0] != b"http/1.0"
        for line in lines:
            if line[:15] == b"content-length:" and line[15:].strip().isdigit():
                self._left = int(line[15:])
        self._carries = self._carries and not self._left  # else it is answered
        if self._left is None:
            raise OSError("a reply without content-length")
        return rest

    def _answered(self, now: int) -> None:
        self._poll_at = now + (AGAIN_MS if self._carries else self._poll_ms)
        self._forget()
        self._used = self._keep
        if not self._keep:
            self._hang_up(now)
        self._dial.good()
        self.up = True
        self.problem = None
