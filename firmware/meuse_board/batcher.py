"""Collects rows into batches and closes them into DATA records of the log; says what the rows mean before first use.

A batch closes at max_rows, at max_age_ms, on an alarm, or when it no longer fits the smallest packet of the links.
Refuses to know where rows come from and where records go. Bound: max_rows of each group.
"""

from meuse_protocol.columns import encode, single
from meuse_protocol.messages import DATA, SINGLE, record

OVERHEAD = 5 + 8  # full stream id, MAC
NEAR = 8  # bytes by which reckoning may be too low: another row can change how the others are packed


class Batcher:
    """`append(type, body, urgent)` puts a record into the log; `next_seq` as the log's; `encode` as columns.encode."""

    def __init__(self, groups: list, clock, max_pdu: int, append, next_seq, encode=encode):
        self._groups = groups
        self._clock = clock
        self._room = max_pdu - OVERHEAD
        self._append = append
        self._next_seq = next_seq
        self._encode = encode

    def add(self, group, at_ms: int, row: list, urgent: bool) -> None:
        if group.rows:
            group.size += bytes_of(row, group.rows[-1])
            if group.size > self._room - NEAR and not self._fits(group, at_ms, row):
                self.close(group)
        if not group.rows:
            group.size = bytes_of(row)
        group.times.append(at_ms)
        group.rows.append(row)
        if urgent or len(group.rows) >= group.settings.get("max_rows", 60):
            self.close(group, urgent)

    def _fits(self, group, at_ms: int, row: list) -> bool:
        """Encodes, to see what one more row really takes: less than was reckoned; reckoning goes on from there."""
        times = self._clock.ticks(group.times + [at_ms], group.settings["tick_ms"])
        try:
            group.size = self._bytes(self._encode(group.sid, times, group.rows + [row], self._boot()))
        except MemoryError:
            return False
        return group.size <= self._room

    def _bytes(self, body) -> int:
        return len(record(DATA, self._next_seq(), *body))

    def _boot(self):
        """The boot's number while the time is not known, so that a host can date the rows afterwards."""
        return self._clock.boot if self._clock.offset_ms is None else None

    def step(self, now: int) -> int:
        """Closes what is old enough; returns the uptime at which to call again."""
        wake_ms = now + 60_000
        for group in self._groups:
            if group.rows:
                due_ms = group.times[0] + group.settings.get("max_age_ms", 60_000)
                if now >= due_ms:
                    self.close(group)
                else:
                    wake_ms = min(wake_ms, due_ms)
        return wake_ms

    def close_all(self) -> None:
        for group in self._groups:
            self.close(group)

    def close(self, group, urgent: bool = False) -> None:
        """All rows of the group into the log, in as many records as they need."""
        rows, times = group.rows, group.times
        group.rows, group.times = [], []
        boot = self._boot()
        times = self._clock.ticks(times, group.settings["tick_ms"])
        while rows:
            n, kind = len(rows), SINGLE
            while n > 1 and kind == SINGLE:
                try:
                    body = self._encode(group.sid, times[:n], rows[:n], boot)
                    size = 0 if group.size * 2 < self._room else self._bytes(body)
                except MemoryError:
                    size = 4 * self._room  # fewer rows need less
                if size <= self._room:
                    kind = DATA
                else:
                    n = max(1, n * self._room // size - 1)
            if kind == SINGLE:
                body = single(group.sid, times[0], rows[0], boot)
            self._append(kind, body, urgent)
            rows, times = rows[n:], times[n:]


def bytes_of(row: list, before=None) -> int:
    """About how many bytes a row adds to a batch; more rather than less."""
    eighths = 0
    for i, v in enumerate(row):
        if isinstance(v, int):
            d = abs(v - before[i]) if before and isinstance(before[i], int) else abs(v)
            eighths += 2 if not d else 8 if d < 32 else 16 if d < 4096 else 40
        else:
            eighths += 16
    return eighths // 8 + 1
