"""Simulated: one pair of wires that several parties share, in virtual time, character by character.

Owns who drives the wire and when. Two at once garble each other; who drives hears nothing; what is sent by one who does
not drive is lost; noise changes characters by chance. Everything follows from the seed.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

BITS = 10  # 8N1
PIECE = 16  # characters that are delivered together: what a receiver's buffer hands over at once


@dataclass
class Party:
    """One transceiver. `hears(data)` is called when characters have arrived."""

    hears: Callable[[bytes], None]
    drives: bool = False
    plugged: bool = True
    late_us: int = 0  # how long what it hears takes to reach it
    free_us: int = 0  # when all that it was given to send has left
    sent: int = 0


@dataclass
class Wire:
    """`at` plans a call, `run` lets time pass; times are microseconds."""

    seed: int
    baud: int = 19_200
    noise: float = 0.0  # characters changed, as a share
    now_us: int = 0
    busy_us: int = 0  # somebody was sending
    contended: int = 0  # characters sent while another drove the wire, too
    undriven: int = 0  # characters sent without driving it
    parties: list[Party] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.character_us = BITS * 1_000_000 // self.baud
        self._plan: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._busy_until_us = 0
        self._ends: list[tuple[int, int, Party]] = []  # (begin, end, who) of pieces on the wire lately

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    def at(self, at_us: int, call: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._plan, (max(at_us, self.now_us), self._number, call))

    def run(self, until_us: int, done: Callable[[], bool] = lambda: False) -> bool:
        while not done():
            if not self._plan or self._plan[0][0] > until_us:
                self.now_us = until_us
                return done()
            self.now_us, _, call = heapq.heappop(self._plan)
            call()
        return True

    def send(self, party: Party, data: bytes) -> None:
        """Puts characters behind what this party is sending already."""
        party.sent += len(data)
        begin_us = max(self.now_us, party.free_us)
        for i in range(0, len(data), PIECE):
            piece = data[i : i + PIECE]
            end_us = begin_us + len(piece) * self.character_us
            self.at(begin_us, lambda p=piece, b=begin_us, e=end_us: self._begin(party, p, b, e))
            begin_us = end_us
        party.free_us = begin_us

    def _begin(self, party: Party, piece: bytes, begin_us: int, end_us: int) -> None:
        self._ends = [one for one in self._ends if one[1] > begin_us - 1_000_000]
        self._ends.append((begin_us, end_us, party))
        self.busy_us += end_us - max(begin_us, min(self._busy_until_us, end_us))
        self._busy_until_us = max(self._busy_until_us, end_us)
        self.at(end_us, lambda: self._end(party, piece, begin_us, end_us))

    def _end(self, party: Party, piece: bytes, begin_us: int, end_us: int) -> None:
        if not party.plugged:
            return
        if not party.drives:
            self.undriven += len(piece)
            return
        others = [p for p in self.parties if p is not party and p.plugged]
        sending = [(b, e) for b, e, p in self._ends if b < end_us and e > begin_us and p is not party and p.plugged]
        driven = any(p.drives for p in others)
        heard = bytearray(piece)
        for i in range(len(piece) if sending or driven or self.noise else 0):
            at_us = begin_us + i * self.character_us
            clash = driven or any(b < at_us + self.character_us and e > at_us for b, e in sending)
            self.contended += clash
            if clash or (self.noise and self.random.random() < self.noise):
                heard[i] ^= self.random.randrange(1, 256)
        for other in others:
            if other.late_us:
                self.at(self.now_us + other.late_us, lambda o=other: o.hears(bytes(heard)))
            elif not other.drives:
                other.hears(bytes(heard))
