"""UDP to a host: a datagram is one packet, without frame; it may be lost, come twice, or behind later ones.

Owns one socket, which hears one address only. There is nothing to connect: the link is up once the address is known,
and the host's answer to HELLO proves the way. A host believes nobody here who has no key.
"""

import errno
import select
import socket

from .address import Address
from .backoff import Backoff

FIRST_MS = 500
LONGEST_MS = 60_000
LATER = (errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS)  # the network's own buffers are full, or nothing is there


class Link:
    cost = 9  # a little less than TCP: no connection to keep
    overhead = 28  # of IP and UDP
    ordered = False
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "udp to %s:%d" % (settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1200)  # fits every IPv6 path (1280), tunnels too
        self.keep_alive_ms = settings.get("keep_alive_ms", 0)
        self._address = Address(settings, hardware, random_u32)
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._doubted = False
        self._poller = None
        self._out = None  # what the network has not taken yet
        self.up = False
        self.pollable = None  # the socket
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        pass  # receive() begins when due_ms comes

    def doubt(self, now: int) -> None:
        """Nobody stores there any more, or the way back is lost: look again, and speak from another port."""
        self.close(now)
        self._doubted = True

    def close(self, now: int) -> None:
        self._address.close()
        if self.pollable:
            self.pollable.close()
        self.pollable = self._poller = self._out = None
        self.up = False
        self.due_ms = now + self._backoff.next_ms()

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return not self._out

    def send(self, e2e: bytes, now: int) -> None:
        self._out = e2e
        self.sent += 1
        self._guard(self._write, now)

    def receive(self, now: int):
        if self.up or now >= self.due_ms:
            return self._guard(self._next if self.up else self._connect, now)
        return None

    def _guard(self, act, now: int):
        try:
            return act(now)
        except OSError:  # also: nobody listens at that port, says its machine
            self.close(now)
            return None

    def _connect(self, now: int) -> None:
        again = self._doubted or self._backoff.failures % 4 == 3
        self._doubted, doubted = False, self._doubted  # where nobody can look it up, the old address must do
        address = self._address.find(again, now)
        self.due_ms = self._address.due_ms
        if address is None:
            self._doubted = doubted
            return
        self.pollable = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.pollable.setblocking(False)
        self.pollable.connect(address)
        self._poller = select.poll()
        self._poller.register(self.pollable, select.POLLIN)
        self.up = True

    def _next(self, now: int):
        self._write(now)
        self.due_ms = now + (10 if self._out else 1000)
        if not self._poller.poll(0):  # an exception, and a buffer for nothing, would cost more
            return None
        try:
            packet = self.pollable.recv(self.mtu + 16)
        except OSError as problem:
            if problem.errno in LATER:
                return None
            raise
        self.received += 1
        self._backoff.reset()
        return packet

    def _write(self, now: int) -> None:
        if self._out:
            try:
                self.pollable.send(self._out)
            except OSError as problem:
                if problem.errno in LATER:
                    return
                raise
            self._out = None
