"""Dialling a host: connects and, where asked to, speaks TLS; never waits for anybody.

Owns the socket and the pause before the next attempt; refuses to know what the bytes mean, and when a silent peer is
dead. Its address is looked up once (address.py), and again after failed attempts.
"""

import errno
import select
import socket

from .address import Address
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
        self._address = Address(settings, hardware, random_u32)
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
            for one in (self._address, self._stream or self.pollable):
                if one:
                    one.close()
        except OSError:
            pass  # TLS would like to say goodbye
        self.pollable = self._stream = None
        self.due_ms = now

    def good(self) -> None:
        """What was asked of the peer was done: earlier failures are of no account."""
        self._backoff.reset()

    def _connect(self, now: int) -> None:
        address = self._address.find(self._backoff.failures % 4 == 3, now)
        self.due_ms = self._address.due_ms
        if address is None:
            return
        self.pollable = socket.socket()
        self.pollable.setblocking(False)
        self._since_ms = now
        self.due_ms = now + 10
        try:
            self.pollable.connect(address)
        except OSError as problem:
            if problem.errno not in UNDER_WAY:
                raise

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
