"""A board's log and a host's tables in memory, for tests on both runtimes; and the shortest of all wires."""

from meuse_protocol.host_endpoint import Duplicate, GapFound, HostEndpoint, Record
from meuse_protocol.host_stream import StreamState
from meuse_protocol.messages import BLOB, GAP, GAP_POWER_CUT, record

PSK = bytes(range(32))
STREAM = 0x80000001


class Lcg:
    """The same numbers on every runtime."""

    def __init__(self, seed):
        self._x = seed * 2654435761 & 0xFFFFFFFF

    def below(self, n):
        self._x = (self._x * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._x >> 8) % n


class MemoryLog:
    """Numbers reserved ahead, records in RAM until flush(), a crash that keeps what was flushed."""

    def __init__(self, stream=STREAM, reserve=64):
        self.stream = stream
        self.reserve = reserve
        self.created = {}  # every record ever made, whatever became of it
        self._kept = {}
        self._flushed = {}
        self._cum = self._saved_cum = 1
        self._next = self._edge = 1

    def oldest(self):
        return self._cum

    def next_seq(self):
        return self._next

    def get(self, seq):
        return self._kept.get(seq)

    def acked(self, cum, ranges):
        """As on flash: what is acknowledged before it is flushed never needs flushing."""
        assert cum <= self._next
        for seq in [seq for seq in self._kept if seq < cum]:
            if seq not in self._flushed:
                del self._kept[seq]
        for first, last in ranges:
            for seq in range(first, last + 1):
                if seq in self._kept and seq not in self._flushed:
                    del self._kept[seq]
        self._cum = max(self._cum, cum)

    def append(self, kind, *body):
        """The new record's seq. Its number is reserved in flash before it is used."""
        seq = self._next
        if seq >= self._edge:
            self._edge = seq + self.reserve
        self._next += 1
        self._kept[seq] = self.created[seq] = record(kind, seq, *body)
        return seq

    def flush(self):
        for seq in [seq for seq in self._kept if seq < self._cum]:
            del self._kept[seq]
        self._flushed = dict(self._kept)
        self._saved_cum = self._cum

    def crash(self, survivors=0):
        """Power is cut while writing: of what was not flushed only the first few are readable (a torn flush)."""
        unflushed = sorted([seq for seq in self._kept if seq not in self._flushed])
        self._kept = dict(self._flushed)
        for seq in unflushed[:survivors]:
            self._kept[seq] = self.created[seq]
        self._flushed = dict(self._kept)
        first = max([self._saved_cum - 1] + list(self._kept)) + 1
        self._cum = self._saved_cum
        if first < self._edge:
            self._next = self._edge
            self.append(GAP, first, self._next - 1, GAP_POWER_CUT)
            self.flush()

    def drop_oldest(self, count, reason):
        """The log is full: the lowest records go, and a GAP says so."""
        first = self._cum
        last = min(self._next - 1, first + count - 1)
        for seq in range(first, last + 1):
            self._kept.pop(seq, None)
            self._flushed.pop(seq, None)
        return self.append(GAP, first, last, reason)


class MemoryJournal:
    """Who is known, what is stored: the directory of a host and its storage in one."""

    def __init__(self, devices):
        self.devices = devices  # device -> [psk, ...]
        self.owners = {}  # stream -> (device, next_seq)
        self.records = {}  # (stream, seq) -> record
        self.gaps = {}  # stream -> [(first, last, reason)]
        self._states = {}

    def keys(self, device):
        return self.devices.get(device)

    def stream(self, stream):
        state = self._states.get(stream)
        if state is None and stream in self.owners:
            state = self._states[stream] = self._load(stream)
        return state

    def bind(self, stream, device):
        self.owners[stream] = device
        return self.stream(stream)

    def restart(self):
        """The host was killed: only what is durable is known afterwards."""
        self._states = {}

    def _load(self, stream):
        device = self.owners[stream]
        state = StreamState(stream, device, self.devices[device] or [])
        state.stored([seq for owner, seq in self.records if owner == stream])
        for first, last, _ in self.gaps.get(stream, []):
            state.gap_stored(first, last)
        return state

    def commit(self, events):
        """One transaction; (stream, seq) is unique."""
        for event in events:
            if isinstance(event, Record):
                key = (event.state.stream, event.seq)
                assert key not in self.records, "stored twice"
                self.records[key] = event.record
            elif isinstance(event, GapFound):
                self.gaps.setdefault(event.state.stream, []).append(event[1:4])


class MemoryHost:
    """A host on one link that commits whatever came at once."""

    def __init__(self, journal, trusted=False, **options):
        self.journal = journal
        self.endpoint = HostEndpoint(journal, trusted, **options)
        self.waiting = []
        self.seen = []

    def receive(self, e2e, now_ms, utc_ms=None):
        self.endpoint.receive(e2e, now_ms, utc_ms)
        self.take()

    def take(self):
        """Events move from the endpoint to the queue of the next commit."""
        while True:
            event = self.endpoint.next_event()
            if event is None:
                return
            if isinstance(event, (Record, GapFound)):
                self.waiting.append(event)
            else:
                if isinstance(event, Duplicate):
                    self.compare(event)
                self.seen.append(event)

    def compare(self, event):
        if self.journal.records[(event.state.stream, event.seq)] != event.record:
            self.endpoint.conflict(event.state.stream, event.seq, 0)

    def commit(self, now_ms):
        events, self.waiting = self.waiting, []
        self.journal.commit(events)
        self.tell(events, now_ms)

    def tell(self, events, now_ms):
        """What was committed is acknowledged."""
        for event in events:
            stream = event.state.stream
            if isinstance(event, Record):
                self.endpoint.stored(stream, [event.seq], now_ms)
            else:
                self.endpoint.gap_stored(stream, event.first, event.last, now_ms)


def text(n):
    """The body of a record that can be told from others."""
    return (1, None, b"record %d" % n)


def fill(log, count):
    return [log.append(BLOB, *text(n)) for n in range(count)]


def events_of(endpoint):
    found = []
    while True:
        event = endpoint.next_event()
        if event is None:
            return found
        found.append(event)


def packets_of(endpoint, now_ms):
    found = []
    while True:
        e2e = endpoint.next_pdu(now_ms)
        if e2e is None:
            return found
        found.append(e2e)


def exchange(board, host, now_ms, rounds=50):
    """Carries packets both ways without loss until both are silent; -> how many went each way."""
    up = down = 0
    for _ in range(rounds):
        sent = packets_of(board, now_ms)
        for e2e in sent:
            host.receive(e2e, now_ms, 1800000000000 + now_ms)
        host.commit(now_ms)
        answers = packets_of(host.endpoint, now_ms)
        for e2e in answers:
            board.receive(e2e, now_ms)
        up += len(sent)
        down += len(answers)
        if not sent and not answers:
            return up, down
    raise AssertionError("never silent")
