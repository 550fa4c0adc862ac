"""Dialling a host: finds its address, connects and, where asked to, speaks TLS; never waits for anybody.

Owns the socket, the address and the pause before the next attempt; refuses to know what the bytes mean, and when a
silent peer is dead. An address is looked up once, and again after failed attempts.
"""

import errno
import select
import socket

from .backoff import Backoff

FIRST_MS = 500
LONGEST_MS = 60_000
CONNECT_MS = 15_000  # Linux and lwIP give up on a SYN after a minute or more
HANDSHAKE_MS = 30_000  # of TLS: seconds of arithmetic here, and a slow network
STEADY_MS = 30_000  # a connection that lived shorter counts as a failed attempt
UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EALREADY)


class Dial:
    """settings: host, port, of the network (hardware.network), and of tls.py where `tls` is true.

    `pollable`: what select.poll may wait on, once there is one.
    """

    def __init__(self, settings: dict, hardware, random_u32):
        self._settings = settings
        self._hardware = hardware
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._random_u32 = random_u32
        self._address = None
        self._lookup = None
        self._stream = None
        self._since_ms = 0
        self.pollable = None
        self.due_ms = 0  # when step() wants to be called

    def step(self, now: int):
        """What to read() and write() without waiting, once it is connected; None before. OSError: then close().

        With TLS the handshake goes on underneath: until begin() says that it is done nothing is read or written.
        """
        if not self._stream and now >= self.due_ms:
            if self.pollable:
                self._confirm(now)
            else:
                self._connect(now)
        return self._stream

    def begin(self, data: bytes, now: int):
        """Writes the first bytes -> how many, none while a handshake goes on. OSError has words for whom it refuses."""
        self.due_ms = now + 20
        if now - self._since_ms > HANDSHAKE_MS:
            raise OSError(errno.ETIMEDOUT)
        if self._settings.get("tls"):
            from .tls import begin

            return begin(self._stream, data)
        return self._stream.write(data)

    def close(self, now: int) -> None:
        """Gives everything back; the next attempt is a pause away."""
        if self._stream and now - self._since_ms >= STEADY_MS:
            self.good()
        self.hang_up(now)
        self.due_ms = now + self._backoff.next_ms()

    def hang_up(self, now: int) -> None:
        """Gives everything back; the next attempt may be at once."""
        try:
            for one in (self._lookup, self._stream or self.pollable):
                if one:
                    one.close()
        except OSError:
            pass  # TLS would like to say goodbye
        self.pollable = self._stream = self._lookup = None
        self.due_ms = now

    def good(self) -> None:
        """What was asked of the peer was done: earlier failures are of no account."""
        self._backoff.reset()

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
        poller = select.poll()
        poller.register(self.pollable, select.POLLOUT)
        events = poller.poll(0)
        if not events:
            if now - self._since_ms > CONNECT_MS:
                raise OSError(errno.ETIMEDOUT)
            self.due_ms = now + 20
        elif events[0][1] & (select.POLLERR | select.POLLHUP):
            raise OSError(errno.ECONNREFUSED)
        else:
            self._since_ms = now
            self._stream = self.pollable
            if self._settings.get("tls"):
                from .tls import wrap

                if "clock" in self._settings:
                    self._hardware.clock_at_least(self._settings["clock"])
                self._stream = wrap(self._settings, self.pollable)
