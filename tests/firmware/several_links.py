"""A board with several links in virtual time, from one seed: real runners, supervisor, endpoints; simulated wires.

Owns the clock, the wires (rate, delay, loss, cuts that are noticed and cuts that are not) and what is counted.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, MemoryLog
from meuse_board.runner import Runner
from meuse_board.supervisor import Lane, Supervisor
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import BLOB, FRAG, FRAG0, head, parse
from meuse_protocol.outbox import ALL
from meuse_protocol.polled import PAUSES
from meuse_protocol.shared_endpoint import SharedEndpoint

from .resent import Tally
from .shared_wire import PolledLink

NAP_MS = 200  # the application never sleeps longer
NEVER_MS = 1 << 60
UTC_MS = 1_800_000_000_000
WINDOW = 32
PACKET_BITS = 8 * 170  # of the records of these tests, whole
REORDER = 3  # what so many overtook counts as lost on a wire that does not keep the order
QUICK_MS = 600
STALL_S = 600  # whoever greets or asks ever more rarely does it each 5 minutes at least
CALL_MS = 800  # the slots of a call on a wire that is shared


@dataclass(frozen=True)
class Kind:
    """What a wire is like: bits per second, one-way delay, longest packet, whether the order is kept, what it costs.

    loss: of packets, both ways. poll_ms: a wire of several boards, whose master asks each so often (shared_wire.py).
    """

    bits_per_s: int
    delay_ms: int
    mtu: int
    ordered: bool
    cost: int
    loss: float = 0.0
    poll_ms: int = 0

    @property
    def first_ms(self) -> int:
        """What a HELLO, a record and their answers take, one of them lost on the way; 0 where that is quick."""
        if self.poll_ms:
            return self.poll_ms + CALL_MS
        took_ms = 4 * self.delay_ms + 5 * PACKET_BITS * 1000 // self.bits_per_s
        return 2 * took_ms if took_ms > QUICK_MS else 0

    @property
    def silent_ms(self) -> int:
        """What this link needs to find out by itself that nobody answers; 0 where it is told, or finds out quickly."""
        if self.poll_ms:
            return PAUSES * (self.poll_ms + CALL_MS)
        full_ms = 2 * self.delay_ms + WINDOW * PACKET_BITS * 1000 // self.bits_per_s
        return 3 * full_ms if full_ms > 2 * QUICK_MS else 0  # the second timeout is twice as long as the first


KINDS = {
    "serial": Kind(115_200, 1, 1024, True, 0),
    "rs485": Kind(19_200, 0, 256, True, 1, poll_ms=500),
    "ble": Kind(50_000, 40, 1024, True, 5),
    "tcp": Kind(1_000_000, 20, 1024, True, 10),
    "udp": Kind(1_000_000, 30, 1200, False, 15, loss=0.01),
    "mqtt": Kind(500_000, 50, 1024, False, 20),
    "http": Kind(200_000, 100, 1024, True, 30),
    "lora": Kind(5_000, 400, 222, False, 40, loss=0.02),
    "relay": Kind(5_000, 900, 222, False, 45, loss=0.02),
    "cellular": Kind(20_000, 300, 1024, True, 60),
    "sms": Kind(400, 3_000, 140, False, 95),
}


def record_of(e2e: bytes) -> int:
    """The seq of what is a record, or a part of one; 0 for all else."""
    kind, _, seq = head(e2e)
    if kind in (FRAG0, FRAG):
        seq = parse(e2e).fields[2]  # the MAC is in the last part
    return seq or 0


class Wire:
    """A board's link by contract, and the host's end of it. Simulated."""

    overhead = 8
    pollable = None

    def __init__(self, world: "World", name: str) -> None:
        kind = KINDS[name]
        self.name, self.kind, self.world = name, kind, world
        self.mtu, self.ordered, self.cost = kind.mtu, kind.ordered, kind.cost
        self.up = True
        self.dead = False  # nothing gets through, and nobody is told
        self.loss = kind.loss
        self.due_ms = NEVER_MS
        self.sent = self.received = self.damaged = 0
        self._in: list[bytes] = []
        self._free_us = [0, 0]
        self._arrived: list[int] = []  # which of the packets sent here, lately
        self.attach()

    def attach(self) -> None:
        """A new connection: a new session at the host."""
        self.host = MemoryHost(self.world.journal, window=WINDOW)

    # -- the board's side

    def room(self, now: int) -> bool:
        return self._free_us[0] <= self.world.now_us

    @property
    def full(self) -> bool:
        """No packet is taken now; there is an event when that is over."""
        return self._free_us[0] > self.world.now_us

    def send(self, e2e: bytes, now: int) -> None:
        self.sent += 1
        self.world.note_sent(self, e2e)
        self._travel(0, e2e, lambda number=self.sent, host=self.host: self._host_hears(e2e, number, host))

    def receive(self, now: int) -> bytes | None:
        if not self._in:
            return None
        self.received += 1
        return self._in.pop(0)

    def doubt(self, now: int) -> None:
        """A connection begun anew; what was on its way is gone."""
        if self.kind.ordered and self.name != "serial":
            self._in.clear()
            self.attach()

    # -- the wire

    def cut(self, noticed: bool) -> None:
        self.dead = True
        if noticed:
            self.up = False
            self._in.clear()

    def mend(self) -> None:
        if not self.up:
            self.attach()
        self.dead, self.up = False, True

    def _travel(self, way: int, e2e: bytes, arrive: Callable[[], None]) -> None:
        world = self.world
        begin = max(self._free_us[way], world.now_us)
        self._free_us[way] = begin + len(e2e) * 8_000_000 // self.kind.bits_per_s
        world.at(self._free_us[way], lambda: None)  # there is room again
        if self.dead or self._loses(way, e2e):
            return
        late = 0 if self.ordered else world.rng.randrange(self.kind.delay_ms * 300 + 1)
        world.at(self._free_us[way] + self.kind.delay_ms * 1000 + late, arrive)

    def _loses(self, way: int, e2e: bytes) -> bool:
        if self.world.rng.random() >= self.loss:
            return False
        tally = self.world.tally
        tally.lost_answers += way
        tally.lost += not way and record_of(e2e) > 0
        return True

    def _host_hears(self, e2e: bytes, number: int, host: MemoryHost) -> None:
        if not self.dead and host is self.host:  # what a connection had under way ends with it
            self.world.tally.late += sum(number < other for other in self._arrived) >= REORDER
            self._arrived = [*self._arrived[-WINDOW:], number]
            self.host.receive(e2e, self.world.now_ms, UTC_MS + self.world.now_ms)
            self.world.at(self.world.now_us + 3000, lambda host=self.host: host.commit(self.world.now_ms))

    def answer(self) -> int | None:
        """What the host has to say, as fast as the wire takes it -> when to come again, in ms."""
        now = self.world.now_ms
        while self._free_us[1] <= self.world.now_us:
            e2e = self.host.endpoint.next_pdu(now)
            if e2e is None:
                due: int | None = self.host.endpoint.deadline(now)
                return due
            self._travel(1, e2e, lambda e2e=e2e, host=self.host: self._board_hears(e2e, host))
        return None  # there is an event when it takes more

    def _board_hears(self, e2e: bytes, host: MemoryHost) -> None:
        if not self.dead and host is self.host:
            self._in.append(e2e)


class World:
    """A board on the wires that `names` says; `carries`: name -> what at most."""

    def __init__(self, seed: int | str, names: list[str], carries: dict[str, int] | None = None) -> None:
        self.rng = random.Random(seed)
        self.now_us = 1_000_000
        self.log = MemoryLog(STREAM)
        self.journal = MemoryJournal({"board-1": [PSK]})
        self.told: list[tuple[int, str]] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._n = 0
        self.tally = Tally()
        self.wires = {name: PolledLink(self, name) if KINDS[name].poll_ms else Wire(self, name) for name in names}
        self.runners: list[Runner] = []
        lanes = []
        first: BoardEndpoint | None = None
        for name, wire in self.wires.items():
            endpoint = getattr(wire, "Endpoint", SharedEndpoint)("board-1", STREAM, PSK, self.log)
            if first:
                endpoint.join(first)
            first = first or endpoint
            runner = Runner(wire, lambda event, now: None, lambda: self.rng.getrandbits(32))
            runner.endpoint = endpoint
            self.runners.append(runner)
            lanes.append(Lane(runner, (carries or {}).get(name, ALL), wire.cost, None))
        self.supervisor = Supervisor(lanes, self)

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    @property
    def carrying(self) -> str:
        current = self.supervisor.current
        return current.name if current else ""

    def at(self, at_us: int, call: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._events, (max(at_us, self.now_us), self._n, call))

    def add(self, size: int = 120, urgent: bool = False) -> int:
        seq = self.log.append(BLOB, 1, None, self.rng.randbytes(size))
        for runner in self.runners:
            runner.endpoint.record_added(seq, urgent)
        return seq

    def add_all(self, count: int) -> None:
        for _ in range(count):
            self.add()

    def note_sent(self, wire: "Wire | PolledLink", e2e: bytes) -> None:
        """A packet that a link takes; of a record in parts the first one counts."""
        seq = record_of(e2e)
        if seq and head(e2e)[0] != FRAG:
            self.tally.took(seq, len(self.told), wire.dead)

    def append(self, kind: int, body: tuple[int, None, bytes]) -> None:
        """What the supervisor has to say; here it is only noted."""
        self.told.append((self.now_ms, body[2].decode()))

    def acked(self) -> int:
        """All below is durable, as the board knows."""
        return self.log.oldest()

    def drained(self) -> bool:
        return self.log.oldest() == self.log.next_seq()

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Until it is done, or so much time has passed -> whether it was done."""
        end_us = self.now_us + int(seconds * 1e6)
        wake_ms = 0
        while self.now_us < end_us:
            if done():
                return True
            now = self.now_ms
            if now >= wake_ms:
                wake_ms = self._step(now)
            elif self.supervisor.step(now):  # a nap is over, for which nobody else has asked
                wake_ms = now
            due = self._events[0][0] if self._events else end_us
            due = min(end_us, due, max(min(wake_ms, now + NAP_MS) * 1000, self.now_us + 1000))
            self.now_us = max(self.now_us, due)
            while self._events and self._events[0][0] <= self.now_us:
                heapq.heappop(self._events)[2]()
                wake_ms = 0
        return done()

    def drain(self) -> None:
        """Until all is stored and known to be, however long that takes; not when nothing moves for minutes."""
        before = None
        while not self.run(STALL_S, self.drained):
            moved = len(self.journal.records), self.acked()
            assert moved != before, f"nothing moved for {STALL_S} s: {moved}, {self.told[-4:]}"
            before = moved

    def _step(self, now: int) -> int:
        """One pass, as App.step has it, and what the hosts owe -> when to come again if nothing happens until then."""
        wake_ms = NEVER_MS
        for runner in self.runners:
            due = runner.step(now)
            if due < wake_ms and not (due > now and runner.link.full):  # who waits for room looks every 5 ms
                wake_ms = due
        if self.supervisor.step(now):
            wake_ms = now
        for wire in self.wires.values():
            due = wire.answer()
            if due is not None and due < wake_ms:
                wake_ms = due
        return wake_ms
