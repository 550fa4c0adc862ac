"""Two endpoints, a bad link, crashes on both ends and an attacker: whatever happens, in any order.

After every step: storage holds only what was made, each once; what was acknowledged is durable;
memory is bounded. After the line is healed everything arrives or is covered by a GAP.
"""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, MemoryLog, text
from meuse_protocol import host_states, states
from meuse_protocol.board_endpoint import EVENTS_MAX, BoardEndpoint, Time
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.host_endpoint import GapFound, HostEndpoint
from meuse_protocol.messages import (
    ACK,
    ANCHOR,
    BLOB,
    ERR,
    GAP,
    GAP_LOG_FULL,
    HELLO,
    SCHEMA,
    TIME,
    WELCOME,
    record,
    splice,
)
from meuse_protocol.outbox import ALARMS, ALL, NOTHING
from meuse_protocol.reactions import Needed
from meuse_protocol.received import RangeSet
from meuse_protocol.shared_endpoint import SharedEndpoint

from tests.protocol.effort import EXAMPLES

UTC_MS = 1_800_000_000_000
ON_THE_WAY_MAX = 40
SEEN_MAX = 200
HEAL_MS = 20 * 60_000  # twice the longest pause: a probe every five minutes, ten seconds of silence

index = st.integers(0, ON_THE_WAY_MAX - 1)


class Way:
    """Packets between two ends, in no particular order; framed: as bytes on a serial line."""

    def __init__(self, framed: bool) -> None:
        self.packets: list[bytes] = []
        self._deframer = Deframer(4096) if framed else None

    def put(self, e2e: bytes) -> None:
        self.packets = [*self.packets[1 - ON_THE_WAY_MAX :], e2e]

    def out(self, e2e: bytes, flip: int | None) -> list[bytes]:
        """What the far end makes of a packet, perhaps with one bit flipped on the way."""
        data = bytearray(e2e if self._deframer is None else frame(e2e))
        if flip is not None:
            flip %= len(data) * 8
            data[flip // 8] ^= 1 << flip % 8
        if self._deframer is None:
            return [bytes(data)]
        self._deframer.feed(bytes(data))
        found = []
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                found.append(item[1])
        return found


class Line:
    """A link between the two, with an endpoint at each end. `board` and `host` are set at once."""

    board: SharedEndpoint
    host: MemoryHost

    def __init__(self, framed: bool) -> None:
        self.up = Way(framed)
        self.down = Way(framed)


class Rivers(RuleBasedStateMachine):
    """One device, one host, `links` lines between them; most rules act on the one at hand."""

    keyed = True
    links = 1

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1000
        self.utc_ms = UTC_MS
        self.stepped = False
        self.stream = STREAM
        self.nonce = 1
        psks = [PSK] if self.keyed else []
        self.journal = MemoryJournal({"board-1": psks})
        self.logs: dict[int, MemoryLog] = {}
        self.seen: list[bytes] = []
        self.lines = [Line(not self.keyed) for _ in range(self.links)]
        self.line = self.lines[0]
        self.texts = 0
        self.told = RangeSet()
        self.new_host()

    @initialize(backlog=st.integers(0, 40))
    def begin(self, backlog: int) -> None:
        self.boot(MemoryLog(self.stream))
        for _ in range(backlog):
            self.make()
        self.connect(True)

    # -- the two ends

    @property
    def board(self) -> SharedEndpoint:
        return self.line.board

    @property
    def host(self) -> MemoryHost:
        return self.line.host

    @property
    def up(self) -> Way:
        return self.line.up

    @property
    def down(self) -> Way:
        return self.line.down

    def boot(self, log: MemoryLog) -> None:
        self.log = self.logs[log.stream] = log
        psk = PSK if self.keyed else None
        first = self.lines[0]
        for line in self.lines:
            line.board = SharedEndpoint("board-1", log.stream, psk, log, window=8)
            line.board.join(first.board)
            line.board.carry(ALL if line is self.line else NOTHING, self.now_ms)
        first.board.schemas.append([1, b"abcd"])

    def new_host(self) -> None:
        for line in self.lines:
            self.new_session(line)

    def new_session(self, line: Line) -> None:
        line.host = MemoryHost(self.journal, trusted=not self.keyed, window=8)

    def added(self, seq: int, urgent: bool = False) -> None:
        for line in self.lines:
            line.board.record_added(seq, urgent)

    def connect(self, ordered: bool, mtu: int = 1024) -> None:
        if self.board.state == states.DOWN:
            self.nonce += 1
            self.board.link_up(self.now_ms, mtu, self.nonce, ordered)

    def make(self, urgent: bool = False) -> None:
        self.texts += 1
        self.added(self.log.append(BLOB, *text(self.texts)), urgent)

    def board_hears(self, e2e: bytes) -> None:
        self.board.receive(e2e, self.now_ms)
        while (event := self.board.next_event()) is not None:
            self.board_event(event)

    def board_event(self, event: Any) -> None:
        if isinstance(event, Time):
            if not self.stepped:
                assert abs(event.offset_ms - self.utc_ms) <= event.err_ms
            if event.anchor:
                self.added(self.log.append(ANCHOR, *event.anchor, 1))
        elif isinstance(event, Needed):
            self.added(self.log.append(SCHEMA, 1, "s", 1, [], None), True)

    def host_hears(self, e2e: bytes) -> None:
        waiting = len(self.host.waiting)
        self.host.receive(e2e, self.now_ms, self.utc_ms + self.now_ms)
        for event in self.host.waiting[waiting:]:
            if isinstance(event, GapFound) and not event.source:
                log = self.logs[event.state.stream]
                assert all(log.get(seq) is None for seq in range(event.first, event.last + 1))

    def see(self, e2e: bytes) -> None:
        self.seen = [*self.seen[1 - SEEN_MAX :], e2e]

    # -- what a board does

    @rule(count=st.integers(1, 4), urgent=st.booleans())
    def readings(self, count: int, urgent: bool) -> None:
        for _ in range(count):
            self.make(urgent)

    @rule(size=st.integers(40, 300))
    def long_reading(self, size: int) -> None:
        """Narrow links carry it in parts."""
        self.texts += 1
        content = b"record %d " % self.texts * (size // 10)
        self.added(self.log.append(BLOB, 1, None, content))

    @rule()
    def flush(self) -> None:
        self.log.flush()

    @rule()
    def flash_fails_once(self) -> None:
        """The next record asked for is not given, though it is there."""
        self.log.fail = True

    @rule()
    def schema_changes(self) -> None:
        sid = len(self.board.schemas) + 1
        self.board.schemas[:] = [*self.board.schemas, [sid, b"abcd"]][-4:]
        self.added(self.log.append(SCHEMA, sid, "s", 1, [], None))

    @rule(count=st.integers(1, 10))
    def log_full(self, count: int) -> None:
        if self.log.oldest() < self.log.next_seq():
            self.added(self.log.drop_oldest(count, GAP_LOG_FULL))

    @rule(kept=st.sampled_from(["all", "flushed", "torn"]))
    def board_reboots(self, kept: str) -> None:
        if kept == "all":
            self.log.flush()
        self.log.crash(survivors=2 if kept == "torn" else 0)
        self.boot(self.log)

    @rule()
    def board_wiped(self) -> None:
        self.stream += 1
        self.boot(MemoryLog(self.stream))

    # -- what the line does

    @rule(ordered=st.booleans(), mtu=st.sampled_from([72, 1024]))
    def link_comes(self, ordered: bool, mtu: int) -> None:
        self.connect(ordered, mtu)

    @rule(lose=st.booleans(), host_too=st.booleans())
    def link_goes(self, lose: bool, host_too: bool) -> None:
        self.board.link_down(self.now_ms)
        if lose:
            self.up.packets = []
            self.down.packets = []
        if host_too:
            self.host.commit(self.now_ms)
            self.new_session(self.line)

    @precondition(lambda self: self.links > 1)
    @rule(i=st.integers(0, 2))
    def other_line(self, i: int) -> None:
        """The next rules act on this one; what the lines carry stays."""
        self.line = self.lines[i % self.links]

    @precondition(lambda self: self.links > 1)
    @rule(carried=st.sampled_from([NOTHING, ALARMS, ALL, ALL]), alone=st.booleans())
    def hand_over(self, carried: int, alone: bool) -> None:
        """The line at hand carries what it is told, and perhaps no other anything."""
        for line in self.lines if alone else ():
            line.board.carry(NOTHING, self.now_ms)
        self.board.carry(carried, self.now_ms)

    @rule(count=st.integers(1, 12))
    def board_sends(self, count: int) -> None:
        for _ in range(count):
            e2e = self.board.next_pdu(self.now_ms)
            if e2e is None:
                break
            self.see(e2e)
            self.up.put(e2e)

    @rule(count=st.integers(1, 12))
    def host_sends(self, count: int) -> None:
        for _ in range(count):
            e2e = self.host.endpoint.next_pdu(self.now_ms)
            if e2e is None:
                break
            self.see(e2e)
            self.down.put(e2e)

    @precondition(lambda self: self.up.packets)
    @rule(i=index, flip=st.none() | st.integers(0, 10_000), again=st.booleans())
    def arrives_up(self, i: int, flip: int | None, again: bool) -> None:
        i %= len(self.up.packets)
        e2e = self.up.packets[i] if again else self.up.packets.pop(i)
        for heard in self.up.out(e2e, flip):
            self.host_hears(heard)

    @precondition(lambda self: self.down.packets)
    @rule(i=index, flip=st.none() | st.integers(0, 10_000), again=st.booleans())
    def arrives_down(self, i: int, flip: int | None, again: bool) -> None:
        i %= len(self.down.packets)
        e2e = self.down.packets[i] if again else self.down.packets.pop(i)
        for heard in self.down.out(e2e, flip):
            self.board_hears(heard)

    @rule(count=st.integers(1, 20))
    def all_arrive(self, count: int) -> None:
        for _ in range(count):
            if self.up.packets:
                for heard in self.up.out(self.up.packets.pop(0), None):
                    self.host_hears(heard)
            if self.down.packets:
                for heard in self.down.out(self.down.packets.pop(0), None):
                    self.board_hears(heard)

    @precondition(lambda self: self.up.packets or self.down.packets)
    @rule(i=index, up=st.booleans())
    def lost(self, i: int, up: bool) -> None:
        packets = self.up.packets if up else self.down.packets
        if packets:
            packets.pop(i % len(packets))

    @rule(ms=st.sampled_from([1, 50, 250, 1000, 5000, 11_000, 60_000, 400_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    # -- what a host does

    @rule()
    def commit(self) -> None:
        self.host.commit(self.now_ms)

    @rule(committed=st.booleans())
    def host_killed(self, committed: bool) -> None:
        if committed:
            for line in self.lines:
                self.journal.commit(line.host.waiting)
        self.journal.restart()
        self.new_host()
        for line in self.lines:
            line.host.endpoint.call(self.now_ms)

    @rule(window=st.sampled_from([0, 0, 1, 8]))
    def storage_fails_or_recovers(self, window: int) -> None:
        for line in self.lines:
            if not window:
                self.drop_waiting(line.host)
            line.host.endpoint.set_window(window, self.now_ms)

    def drop_waiting(self, host: MemoryHost) -> None:
        for event in host.waiting:
            if not isinstance(event, GapFound):
                host.endpoint.dropped(event.state.stream, [event.seq])
        host.waiting = []

    @rule(days=st.integers(-4000, 4000))
    def host_clock_steps(self, days: int) -> None:
        self.stepped = True
        self.utc_ms += days * 86_400_000

    # -- what an attacker does: everything but computing a MAC

    @precondition(lambda self: self.keyed and self.seen)
    @rule(i=st.integers(0, SEEN_MAX - 1), at_host=st.booleans())
    def replayed(self, i: int, at_host: bool) -> None:
        e2e = self.seen[i % len(self.seen)]
        if at_host:
            self.host_hears(e2e)
        else:
            self.board_hears(e2e)

    @precondition(lambda self: self.keyed and self.seen)
    @rule(i=st.integers(0, SEEN_MAX - 1), at=st.integers(0, 300), byte=st.integers(0, 255))
    def forged(self, i: int, at: int, byte: int) -> None:
        e2e = bytearray(self.seen[i % len(self.seen)])
        e2e[at % len(e2e)] = byte
        if bytes(e2e) not in self.seen:
            self.host_hears(bytes(e2e))
            self.board_hears(bytes(e2e))

    @precondition(lambda self: self.keyed)
    @rule(
        body=st.sampled_from(["ack", "welcome", "hello", "data", "gap", "refusal", "time"]),
        short=st.booleans(),
        seal=st.sampled_from(["none", "zeros", "stolen"]),
        n=st.integers(0, 200),
    )
    def invented(self, body: str, short: bool, seal: str, n: int) -> None:
        bodies = {
            "ack": (ACK, n, 32),
            "welcome": (WELCOME, 16, 0, 0, n, 32, self.nonce),
            "hello": (HELLO, 16, 0, n + 1, n + 1, 1024, 32, "board-1", [], n),
            "data": (BLOB, n + 1, 1, None, b"invented"),
            "gap": (GAP, n + 2, 1, n + 1, 1),
            "refusal": (ERR, 1, "0.1"),
            "time": (TIME, self.nonce + 1, n, 0),
        }
        stolen = self.seen[n % len(self.seen)][-8:] if self.seen else b""
        mac = {"none": b"", "zeros": bytes(8), "stolen": stolen}[seal]
        e2e = splice(record(*bodies[body]), 0 if short else self.stream) + mac
        if e2e not in self.seen:
            self.host_hears(e2e)
            self.board_hears(e2e)

    @rule(noise=st.binary(max_size=40))
    def noise(self, noise: bytes) -> None:
        if self.keyed:
            self.host_hears(noise)
            self.board_hears(noise)

    # -- what must hold

    @invariant()
    def storage_holds_what_was_made(self) -> None:
        for (stream, seq), made in self.journal.records.items():
            assert self.logs[stream].created[seq] == made

    @invariant()
    def what_was_acknowledged_is_durable(self) -> None:
        for stream, log in self.logs.items():
            gaps = self.journal.gaps.get(stream, [])
            for seq in log.settled:
                durable = (stream, seq) in self.journal.records
                assert durable or any(first <= seq <= last for first, last, _ in gaps)

    @invariant()
    def gaps_are_not_stored(self) -> None:
        state = self.journal.stream(self.stream)
        if state is not None:
            for first, last in state.gapped.ranges():
                assert state.received.missing(first, last) == [(first, last)]

    @invariant()
    def memory_is_bounded(self) -> None:
        if not self.logs:
            return
        for line in self.lines:
            self.memory_of(line.board, line.host.endpoint)

    def memory_of(self, board: BoardEndpoint, host: HostEndpoint) -> None:
        assert board.state in states.BOARD and host.state in host_states.HOST
        assert len(board._events) <= EVENTS_MAX
        assert len(board._flight) + len(board._flight.lost) <= 8 + 2
        outbox = board._outbox
        assert len(outbox._urgent) <= 16 and len(outbox._live) <= 8
        assert len(board.counters) <= 20 and len(host.counters) <= 30
        assert len(host._replies._unsigned) <= 2
        for state in self.journal._states.values():
            assert len(state.parts) <= 4
        for due in host._replies.dues.values():
            assert len(due.needs) <= 4 and len(due.errors) <= 1
            assert len(due.at_once) <= len(due.state.pending) + 1

    def teardown(self) -> None:
        if not self.logs:
            return
        self.heal()
        self.storage_holds_what_was_made()
        state = self.journal.stream(self.stream)
        assert state is not None and state.cum == self.log.next_seq()
        for seq in self.log.created:
            assert (self.stream, seq) in self.journal.records or state.gapped.contains(seq)

    def heal(self) -> None:
        """No more harm: all that is left to do is done within HEAL_MS."""
        end_ms = self.now_ms + HEAL_MS
        for line in self.lines:
            line.host.commit(self.now_ms)
            line.host.endpoint.set_window(8, self.now_ms)
            line.board.carry(ALL if line is self.line else NOTHING, self.now_ms)
        self.connect(True)
        while self.log.oldest() < self.log.next_seq() or self.board.state != states.READY:
            assert self.now_ms < end_ms, (self.board.state, self.board.counters)
            moved = False
            while (e2e := self.board.next_pdu(self.now_ms)) is not None:
                moved = True
                for heard in self.up.out(e2e, None):
                    self.host_hears(heard)
            self.host.commit(self.now_ms)
            while (e2e := self.host.endpoint.next_pdu(self.now_ms)) is not None:
                moved = True
                for heard in self.down.out(e2e, None):
                    self.board_hears(heard)
            dues = (self.board.deadline(), self.host.endpoint.deadline(self.now_ms))
            waits = [due for due in dues if due is not None]
            self.now_ms = self.now_ms + 1 if moved else max(self.now_ms + 1, min(waits))


class Cable(Rivers):
    """A board without a key on a trusted serial line: the CRC is all there is against damage."""

    keyed = False


class Delta(Rivers):
    """Three links, handed over at any moment, or several at once."""

    links = 3


@pytest.mark.parametrize("machine", [Rivers, Cable, Delta])
def test_whatever_happens(machine: type[Rivers]) -> None:
    several = settings(stateful_step_count=60, max_examples=300 * EXAMPLES)
    run_state_machine_as_test(machine, settings=several)
