"""A board, a host and the line between them in virtual time, from one seed.

Owns the clock, the line (rate, delay, loss, bursts, reordering, duplicates, bit errors, outages,
half duplex) and what is counted. The two endpoints are the real ones and know nothing of it.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, MemoryLog
from meuse_protocol.board_endpoint import Acked, BoardEndpoint
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.messages import BLOB, is_record

UTC_MS = 1_800_000_000_000
FRAME_OVERHEAD_BYTES = 6  # COBS code, CRC-32, delimiter


@dataclass
class Line:
    """Both directions alike, but for loss_down. Probabilities per packet; bit_errors per bit, on framed bytes."""

    bits_per_s: int = 10_000
    delay_ms: int = 200
    loss: float = 0.0
    loss_down: float | None = None  # where the way back is better or worse
    burst_loss: float = 0.0  # Gilbert-Elliott: loss while the line is bad
    burst_enter: float = 0.0  # good to bad, per packet
    burst_leave: float = 1.0  # bad to good, per packet
    reorder: float = 0.0  # a packet that takes up to twice as long
    duplicate: float = 0.0
    bit_errors: float = 0.0
    half_duplex: bool = False
    outages: list[tuple[int, int]] = field(default_factory=list)  # (from_ms, to_ms), unnoticed


@dataclass
class Count:
    packets: int = 0
    bytes: int = 0
    records: int = 0  # packets that are records


class Way:
    """One direction: when it is free, what it does to a packet."""

    def __init__(self, simulation: "Simulation", deliver: Callable[[bytes], None]) -> None:
        self.simulation = simulation
        self.deliver = deliver
        self.free_us = 0
        self.wake_us: int | None = None
        self.count = Count()
        self._bad = False
        self._deframer = Deframer(4096)

    def send(self, e2e: bytes) -> None:
        sim, line, rng = self.simulation, self.simulation.line, self.simulation.rng
        size = len(e2e) + FRAME_OVERHEAD_BYTES
        self.count.packets += 1
        self.count.bytes += size
        self.count.records += is_record(e2e[1])
        self.free_us = sim.now_us + size * 8_000_000 // line.bits_per_s
        if line.half_duplex:
            sim.up.free_us = sim.down.free_us = self.free_us
        if self._lost(rng, line):
            return
        for _ in range(2 if rng.random() < line.duplicate else 1):
            delay_ms: float = line.delay_ms
            if rng.random() < line.reorder:
                delay_ms += line.delay_ms * rng.random() * 2
            sim.at(self.free_us + int(delay_ms * 1000), lambda: self._arrive(e2e))

    def _lost(self, rng: random.Random, line: Line) -> bool:
        if line.burst_enter:
            change = line.burst_leave if self._bad else line.burst_enter
            if rng.random() < change:
                self._bad = not self._bad
        if any(begin <= self.simulation.now_ms < end for begin, end in line.outages):
            return True
        loss = line.loss if self is self.simulation.up or line.loss_down is None else line.loss_down
        return rng.random() < (line.burst_loss if self._bad else loss)

    def _arrive(self, e2e: bytes) -> None:
        line = self.simulation.line
        if not line.bit_errors:
            self.deliver(e2e)
            return
        data = bytearray(frame(e2e))
        rng = self.simulation.rng
        at = int(rng.expovariate(line.bit_errors))
        while at < len(data) * 8:
            data[at // 8] ^= 1 << (at % 8)
            at += 1 + int(rng.expovariate(line.bit_errors))
        self._deframer.feed(bytes(data))
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                self.deliver(item[1])


class Simulation:
    """One board with a log, one host with a journal; both ends pull a packet when the way is free."""

    def __init__(
        self, seed: int, line: Line, window: int = 32, ordered: bool = True, commit_ms: int = 0
    ) -> None:
        self.rng = random.Random(seed)
        self.line = line
        self.now_us = 0
        self.log = MemoryLog(STREAM)
        self.journal = MemoryJournal({"board-1": [PSK]})
        self.host = MemoryHost(self.journal, window=window)
        self.board = BoardEndpoint("board-1", STREAM, PSK, self.log, window=window)
        self.up = Way(self, self._host_hears)
        self.down = Way(self, self._board_hears)
        self.commit_ms = commit_ms
        self.settled_us = 0  # when the board last learned something
        self._committing = False
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._n = 0
        self.board.link_up(0, 1024, self.rng.getrandbits(32), ordered)

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    def at(self, at_us: int, call: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._events, (max(at_us, self.now_us), self._n, call))

    def add(self, count: int, wire_bytes: int = 200) -> None:
        """Records whose frames, once welcomed, take `wire_bytes` on the line."""
        overhead = FRAME_OVERHEAD_BYTES + 8 + 11  # MAC; header, type, stream, seq, kind, nil, bin 8
        for _ in range(count):
            seq = self.log.append(BLOB, 1, None, self.rng.randbytes(wire_bytes - overhead))
            self.board.record_added(seq)

    def run(self, until_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Until `done`, or until the time is over; -> whether it was done."""
        self._pump()
        while not done():
            if not self._events or self._events[0][0] > until_ms * 1000:
                self.now_us = until_ms * 1000
                return done()
            self.now_us, _, call = heapq.heappop(self._events)
            call()
            self._pump()
        return True

    def drained(self) -> bool:
        """The board knows that everything is durable."""
        return self.log.oldest() == self.log.next_seq()

    def _pump(self) -> None:
        self._pump_way(self.up, self.board.next_pdu, self.board.deadline)
        host = self.host.endpoint
        self._pump_way(self.down, host.next_pdu, lambda: host.deadline(self.now_ms))

    def _pump_way(
        self,
        way: Way,
        next_pdu: Callable[[int], bytes | None],
        deadline: Callable[[], int | None],
    ) -> None:
        if way.free_us > self.now_us:
            self._wake(way, way.free_us)
            return
        e2e = next_pdu(self.now_ms)
        if e2e is not None:
            way.send(e2e)
            self._wake(way, way.free_us)
            return
        due_ms = deadline()
        if due_ms is not None:
            self._wake(way, due_ms * 1000)

    def _wake(self, way: Way, at_us: int) -> None:
        at_us = max(at_us, self.now_us)
        if way.wake_us is None or not self.now_us <= way.wake_us <= at_us:
            way.wake_us = at_us
            self.at(at_us, lambda: self._woken(way, at_us))

    def _woken(self, way: Way, at_us: int) -> None:
        if way.wake_us == at_us:
            way.wake_us = None

    def _host_hears(self, e2e: bytes) -> None:
        self.host.receive(e2e, self.now_ms, UTC_MS + self.now_ms)
        if not self.commit_ms:
            self.host.commit(self.now_ms)
        elif self.host.waiting and not self._committing:
            self._committing = True
            events, self.host.waiting = self.host.waiting, []
            self.at(self.now_us + self.commit_ms * 1000, lambda: self._committed(events))

    def _committed(self, events: list[object]) -> None:
        self._committing = False
        self.journal.commit(events)
        self.host.tell(events, self.now_ms)

    def _board_hears(self, e2e: bytes) -> None:
        self.board.receive(e2e, self.now_ms)
        while (event := self.board.next_event()) is not None:
            if isinstance(event, Acked):
                self.settled_us = self.now_us


@dataclass
class Result:
    transmissions: float  # per record
    bytes: float  # all bytes of both directions per byte of the records' frames
    goodput: float  # of the line's rate
    duplicates: int
    seconds: float


def transfer(seed: int, line: Line, records: int, **options: int) -> Result:
    """A backlog of `records` is sent; every number includes framing and MAC of all packets."""
    sim = Simulation(seed, line, **options)
    sim.add(records)
    useful = records * 200
    done = sim.run(records * 30_000 + 3_600_000, sim.drained)
    assert done, f"seed {seed}, {line}: not drained"
    for seq, made in sim.log.created.items():
        assert sim.journal.records[STREAM, seq] == made, f"seed {seed}: seq {seq}"
    return Result(
        sim.up.count.records / records,
        (sim.up.count.bytes + sim.down.count.bytes) / useful,
        useful * 8_000_000 / sim.settled_us / line.bits_per_s,
        sim.host.endpoint.counters.get("duplicate", 0),
        sim.settled_us / 1e6,
    )
