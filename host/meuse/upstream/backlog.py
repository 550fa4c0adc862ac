"""What the host upstream may not have yet: every board's stream, read from the journal in the forwarder's own thread.

Owns the cursor `upstream` as a number, and what each stream's endpoint asks of its log. Changes nothing in the
journal: where the cursor goes is told, and written by who may write.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from meuse_protocol import messages
from meuse_protocol.errors import LocalError, RemoteError
from meuse_protocol.received import SEQ_MAX, RangeSet

from meuse import catalog
from meuse.journal.database import FILE_NAME, open_reader

CURSOR: Final = "upstream"

# Records looked at together; between two looks packets come and go.
STEP: Final = 2_000


class Waiting:
    """One stream, as the endpoint wants its log. `have`: what upstream has; `lost`: what nobody can send any more."""

    def __init__(self, db: sqlite3.Connection, stream: int, device: str) -> None:
        self.stream = stream
        self.device = device
        self.have = RangeSet()
        self.lost = RangeSet()
        self.newest = 0
        self._db = db

    def oldest(self) -> int:
        seq, after = 0, 1
        while seq != after:
            seq = after
            after = self.lost.next_missing(self.have.next_missing(seq))
        return seq

    def next_seq(self) -> int:
        return max(self.newest + 1, self.oldest())

    def get(self, seq: int) -> bytes | None:
        """None also while the board itself has not brought it yet, or the disk fails: it is asked for again."""
        try:
            row = self._db.execute(
                "SELECT record FROM records WHERE stream = ? AND seq = ?", (self.stream, seq)
            ).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else bytes(row[0])

    def acked(self, cum: int, ranges: Iterable[tuple[int, int]]) -> None:
        for first, last in ((1, cum - 1), *ranges):
            if first <= last:
                self.have.add_range(first, last)


class New(NamedTuple):
    """A record that came since the last look; `late`: newer ones of its stream were there before."""

    waiting: Waiting
    seq: int
    late: bool


class Backlog:
    """All streams. Every method raises sqlite3.Error, and may be called again."""

    def __init__(self, data: Path) -> None:
        self._db = open_reader(data / FILE_NAME)
        self.streams: dict[int, Waiting] = {}  # in the order in which they were bound
        self.position = catalog.position(self._db, CURSOR)
        self._seen = self.position
        self._load()

    def close(self) -> None:
        self._db.close()

    def look(self) -> list[New]:
        """Up to STEP records that came since the last look."""
        rows = self._db.execute(
            "SELECT id, stream, seq FROM records WHERE id > ? ORDER BY id LIMIT ?", (self._seen, STEP)
        ).fetchall()
        found = []
        for _, stream, seq in rows:
            if stream not in self.streams:
                self._load()
            waiting = self.streams[stream]
            waiting.lost.discard(seq)
            found.append(New(waiting, seq, seq < waiting.newest))
            waiting.newest = max(waiting.newest, seq)
        if rows:
            self._seen = rows[-1][0]
        return found

    def settle(self) -> None:
        """What was given up here without a word in the stream upstream need not wait for, once it has all that came."""
        if self.position < self._seen:
            return
        for stream, gapped in self._db.execute("SELECT stream, gapped FROM streams").fetchall():
            if stream in self.streams:
                self.streams[stream].lost = RangeSet.from_bytes(gapped)

    def advance(self) -> bool:
        """Moves `position` past what upstream has, a step at most -> whether there may be more."""
        rows = self._db.execute(
            "SELECT id, stream, seq FROM records WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (self.position, self._seen, STEP),
        ).fetchall()
        for record_id, stream, seq in rows:
            if not self.streams[stream].have.contains(seq):
                return False
            self.position = record_id
        return len(rows) == STEP

    def count(self) -> int:
        """Records that upstream may not have, about: ids, of which few were never given."""
        return self._seen - self.position

    def _load(self) -> None:
        """Streams that are not known yet, unless they are closed and all of theirs is upstream.

        What is below the first number that is missing here, and below the first that waits, was sent before this
        process began. A GAP that waits speaks for itself: until it is upstream, what it names is not lost.
        """
        waits = dict(
            self._db.execute("SELECT stream, min(seq) FROM records WHERE id > ? GROUP BY stream", (self.position,))
        )
        spoken = self._spoken()
        rows = self._db.execute(
            "SELECT stream, device, closed_ms, received, gapped FROM streams ORDER BY bound_ms, stream"
        ).fetchall()
        for stream, device, closed_ms, received, gapped in rows:
            if stream in self.streams or (closed_ms is not None and stream not in waits):
                continue
            self.streams[stream] = waiting = Waiting(self._db, stream, device)
            came = RangeSet.from_bytes(received)
            waiting.newest = came.last()
            for first, last in RangeSet.from_bytes(gapped).ranges():
                for begin, end in spoken.get(stream, RangeSet()).missing(first, last):
                    waiting.lost.add_range(begin, end)
            edge = min(_union(came, waiting.lost).cum, waits.get(stream, SEQ_MAX))
            for first, last in came.ranges():
                if first < edge:
                    waiting.have.add_range(first, min(last, edge - 1))

    def _spoken(self) -> dict[int, RangeSet]:
        """What the GAPs name that wait, by stream."""
        found: dict[int, RangeSet] = {}
        rows = self._db.execute(
            "SELECT stream, record FROM records WHERE id > ? AND type = ?", (self.position, messages.GAP)
        )
        for stream, record in rows:
            with contextlib.suppress(RemoteError, LocalError):  # one that makes no sense names nothing
                first, last = messages.parse(messages.splice(record, 0)).fields[3:5]
                found.setdefault(stream, RangeSet()).add_range(first, last)
        return found


def _union(some: RangeSet, others: RangeSet) -> RangeSet:
    found = RangeSet()
    for first, last in (*some.ranges(), *others.ranges()):
        found.add_range(first, last)
    return found
