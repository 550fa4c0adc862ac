"""Simulated: the same wire in real time, between file descriptors, for programs that run by themselves.

Owns the pace of characters and what becomes of them when two send at once. It cannot see who drives the wire.
"""

import asyncio
import os
import random
from dataclasses import dataclass

BITS = 10
PIECE = 32  # bytes taken from a party at once


@dataclass(eq=False)
class Party:
    fd: int


class RealWire:
    """`join` a descriptor to it; `leave` unplugs. The descriptors stay the callers'."""

    def __init__(self, baud: int, seed: int) -> None:
        self.characters = self.garbled = 0
        self._character_s = BITS / baud
        self._random = random.Random(seed)
        self._parties: dict[int, Party] = {}
        self._sending: list[tuple[float, float, int]] = []  # begin, end, who
        self._loop = asyncio.get_running_loop()

    def join(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._parties[fd] = Party(fd)
        self._loop.add_reader(fd, self._taken, self._parties[fd])

    def leave(self, fd: int) -> None:
        if self._parties.pop(fd, None) is not None:
            self._loop.remove_reader(fd)

    def _taken(self, party: Party) -> None:
        """Something to send: it is on the wire for so long, and the party is read again when it has left."""
        try:
            data = os.read(party.fd, PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.leave(party.fd)
            return
        begin_s = self._loop.time()
        end_s = begin_s + len(data) * self._character_s
        self.characters += len(data)
        self._sending = [one for one in self._sending if one[1] > begin_s - 1] + [(begin_s, end_s, party.fd)]
        self._loop.remove_reader(party.fd)
        self._loop.call_at(end_s, self._left, party, data, begin_s, end_s)

    def _left(self, party: Party, data: bytes, begin_s: float, end_s: float) -> None:
        if party.fd not in self._parties:
            return
        self._loop.add_reader(party.fd, self._taken, party)
        if any(b < end_s and e > begin_s and fd != party.fd for b, e, fd in self._sending):
            self.garbled += len(data)
            data = bytes(byte ^ self._random.randrange(1, 256) for byte in data)
        for fd in self._parties:
            if fd != party.fd:
                try:
                    os.write(fd, data)
                except OSError:
                    self.garbled += len(data)
