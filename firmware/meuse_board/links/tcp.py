"""TCP to a host, with TLS if the settings say so: connects, reconnects with back-off, cuts the stream into frames.

Owns one socket; refuses to know what a packet means, and when a silent host is dead: the runner says so with doubt(),
since only acknowledgements prove that a host stores. An address is looked up once, and again after failed attempts.
"""

import errno
import select
import socket

from meuse_protocol.framing import FRAME, Deframer, frame

from .backoff import Backoff

FIRST_MS = 500
LONGEST_MS = 60_000
CONNECT_MS = 15_000  # Linux and lwIP give up on a SYN after a minute or more
HANDSHAKE_MS = 30_000  # of TLS: seconds of arithmetic here, and a slow network
STEADY_MS = 30_000  # a connection that lived shorter counts as a failed attempt
CHUNK = 512
UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY)


class Link:
    cost = 10
    ordered = True
    overhead = 46

    def __init__(self, settings: dict, hardware, random_u32):
        self._tls = settings.get("tls")
        self.name = "%s to %s:%d" % ("tls" if self._tls else "tcp", settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1024)
        self._settings = settings
        self._hardware = hardware
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._random_u32 = random_u32
        self._address = None
        self._lookup = None
        self._deframer = None
        self._stream = None  # what is read and written: the socket, or TLS on it
        self._out = b""
        self._since_ms = 0
        self.up = False
        self.pollable = None  # the socket
        self.trouble = None  # why the last connection ended, while there is no other
        self.due_ms = 0
        self.sent = self.received = self.damaged = self.connects = 0

    def open(self, now: int) -> None:
        pass  # receive() connects when due_ms comes

    def doubt(self, now: int) -> None:
        """The connection is half open, or its host is not there any more: drop it, connect again after the back-off."""
        self.close(now)

    def close(self, now: int) -> None:
        if self.up and now - self._since_ms >= STEADY_MS:
            self._backoff.failures = 0
        stream = self._stream or self.pollable
        if stream:
            stream.close()
        self.pollable = self._stream = self._deframer = self._lookup = None
        self.up = False
        self._out = b""
        self.due_ms = now + self._backoff.next_ms()

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
            self._guard(self._confirm if self.pollable else self._connect, now)
        return None

    def _guard(self, act, now: int):
        try:
            return act(now)
        except OSError as problem:
            self.trouble = str(problem)
            self.close(now)
            return None

    def _connect(self, now: int) -> None:
        self.due_ms = now + 500
        if not self._hardware.network(self._settings):
            return  # the radio retries by itself
        if self._address is None or self._backoff.failures % 4 == 3:
            self.due_ms = now + 20
            if not self._look_up(now):
                return
        self.pollable = socket.socket()
        self.pollable.setblocking(False)
        self._since_ms = now
        self.due_ms = now + 10
        try:
            self.pollable.connect(self._address)
        except OSError as problem:
            if problem.errno not in UNDER_WAY:
                raise

    def _look_up(self, now: int) -> bool:
        """Whether the address is known; asks the name server where one is known, without waiting for it."""
        host, server = self._settings["host"], self._hardware.name_server()
        if server and not host.replace(".", "").isdigit():
            if not self._lookup:
                from .dns import Lookup

                self._lookup = Lookup(host, server, self._random_u32(), now)
            host = self._lookup.step(now)
            if not host:
                return False
        self._lookup = None
        self._address = socket.getaddrinfo(host, self._settings["port"], 0, socket.SOCK_STREAM)[0][-1]
        return True

    def _confirm(self, now: int) -> None:
        """One look at a connection that is being made; with TLS one step of its handshake."""
        if now - self._since_ms > (HANDSHAKE_MS if self._stream else CONNECT_MS):
            raise OSError(errno.ETIMEDOUT)
        self.due_ms = now + 20
        if not self._stream and self._connected():
            self._since_ms = now
            self._stream = self.pollable
            if self._tls:
                from .tls import wrap

                self._stream = wrap(self._settings, self.pollable)
        if self._stream and self._begun():
            self._deframer = Deframer(self.mtu + 16, False)
            self._since_ms = now
            self.connects += 1
            self.up = True
            self.trouble = None

    def _connected(self) -> bool:
        poller = select.poll()
        poller.register(self.pollable, select.POLLOUT)
        events = poller.poll(0)
        if events and events[0][1] & (select.POLLERR | select.POLLHUP):
            raise OSError(errno.ECONNREFUSED)
        return bool(events)

    def _begun(self) -> bool:
        """Without TLS at once; with it when the delimiter that opens the stream is through the handshake."""
        if not self._tls:
            return True
        from .tls import begin

        return begin(self._stream, b"\0")

    def _next(self, now: int):
        self._write(now)
        while True:
            item = self._deframer.next()
            if item is None:
                data = self._stream.read(CHUNK)
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
            self._out = self._out[self._stream.write(self._out) or 0 :]
