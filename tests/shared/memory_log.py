"""A board's log in memory and small things around it, for tests on both runtimes."""

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
        self.fail = False  # the flash, at the next reading
        self.settled = set()  # all that was ever acknowledged
        self._kept = {}
        self._flushed = {}
        self._cum = self._saved_cum = 1
        self._next = self._edge = 1

    def oldest(self):
        return self._cum

    def next_seq(self):
        return self._next

    def get(self, seq):
        if self.fail:
            self.fail = False
            return None
        return self._kept.get(seq)

    def acked(self, cum, ranges):
        """As on flash: what is acknowledged before it is flushed never needs flushing."""
        assert cum <= self._next
        self.settled.update(range(self._cum, cum))
        for first, last in ranges:
            self.settled.update(range(first, last + 1))
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
        """Power is cut while writing: what was not flushed is gone, but for the first few (torn)."""
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
        """The log is full: a GAP is flushed, then the lowest records go."""
        first = self._cum
        last = min(self._next - 1, first + count - 1)
        seq = self.append(GAP, first, last, reason)
        for dropped in range(first, last + 1):
            self._kept.pop(dropped, None)
        self.flush()
        return seq


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
