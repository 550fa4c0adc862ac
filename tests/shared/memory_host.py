"""A host's tables and its session in memory, for tests on both runtimes; and the shortest wire."""

from memory_log import packets_of
from meuse_protocol.host_endpoint import Duplicate, GapFound, Hello, HostEndpoint, Record
from meuse_protocol.host_stream import StreamState


class MemoryJournal:
    """Who is known, what is stored: the directory of a host and its storage in one."""

    def __init__(self, devices):
        self.devices = devices  # device -> [psk, ...]
        self.owners = {}  # stream -> device
        self.nexts = {}  # stream -> next_seq of its last HELLO
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
        state.next_seq = self.nexts.get(stream, 1)
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
                elif isinstance(event, Hello):
                    self.journal.nexts[event.state.stream] = event.next_seq
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
