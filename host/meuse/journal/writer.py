"""The one writer: turns a batch into one transaction. Runs in the writer's thread only.

Knows the tables `streams`, `records`, `gaps`, `events` and the durable sets beside them; knows no
link, no session and no event loop. A failed transaction leaves nothing behind, in the file or here.
`Writer` is SQLite's; what PostgreSQL does its own way overrides it.
"""

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from meuse_protocol.messages import GAP_STREAM_CLOSED
from meuse_protocol.received import RangeSet

from meuse.errors import JournalError
from meuse.journal.batch import Batch, Binding, Event, Gap, Outcome, Row, Twin
from meuse.journal.database import open_writer
from meuse.journal.migrations import migrate
from meuse.journal.sql import Database

# Events are for people: the newest ones, a few months of a quiet house or a day of a bad one.
EVENTS_KEPT = 10_000

# The last seq of a gap whose end nobody knows (a stream that was closed).
UNKNOWN_END = 0xFFFFFFFF

T = TypeVar("T")


def newest_id(db: Database) -> int:
    """Position of the newest record ever stored, purged or not; 0 in an empty journal."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
    return int(row[0]) if row else 0


class StreamSets:
    """What is durable of one stream: stored seqs, and seqs announced as lost."""

    __slots__ = ("device", "gapped", "next_seq", "received")

    def __init__(self, device: str, next_seq: int, received: RangeSet, gapped: RangeSet) -> None:
        self.device = device
        self.next_seq = next_seq
        self.received = received
        self.gapped = gapped


class Writer:
    """Owns the writing connection. Every method raises sqlite3.Error with nothing changed."""

    def __init__(self, path: Path, now_ms: int) -> None:
        self._path = path
        self._sets: dict[int, StreamSets] = {}
        self._db = self._connect(now_ms)

    def _connect(self, now_ms: int) -> Database:
        """The first connection of this process: brings the tables up to date."""
        db = open_writer(self._path)
        migrate(db)
        self._name(db, now_ms)
        return db

    @staticmethod
    def _name(db: Database, now_ms: int) -> None:
        """Which journal this is, if it is new."""
        db.executemany(
            "INSERT INTO meta VALUES(?, ?) ON CONFLICT DO NOTHING",
            [("journal_id", secrets.token_hex(8)), ("created_ms", str(now_ms))],
        )

    def close(self) -> None:
        self._db.close()

    def reopen(self) -> None:
        """A fresh connection, after an error of the disk that the old one may remember."""
        self._db.close()
        self._db = open_writer(self._path)
        self._sets.clear()

    def transaction(self, work: Callable[[Database], T]) -> T:
        """Run `work` in one transaction; whatever it raises undoes it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._db)
            self._db.execute("COMMIT")
        except BaseException:
            # Some errors (disk full) have already rolled back.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return result

    def commit(self, batch: Batch) -> Outcome:
        """Make a batch durable; the same batch may be committed again after a failure."""
        touched: set[int] = set()
        try:
            return self.transaction(lambda db: self._write(db, batch, touched))
        except BaseException:
            for stream in touched:
                self._sets.pop(stream, None)
            raise

    def _write(self, db: Database, batch: Batch, touched: set[int]) -> Outcome:
        for binding in batch.bindings:
            touched.add(binding.stream)
            self._bind(db, binding)
        suspects = self._insert(db, batch.rows, touched)
        for gap in batch.gaps:
            touched.add(gap.stream)
            self._gap(db, gap)
        self._save(db, touched)
        conflicts = self._conflicts(db, [*suspects, *batch.twins])
        self._events(db, batch.events)
        return Outcome(self._newest(db), conflicts)

    def _newest(self, db: Database) -> int:
        return newest_id(db)

    def _insert(self, db: Database, rows: list[Row], touched: set[int]) -> list[Row]:
        """Insert what the received-sets do not have; returns the others."""
        new: list[Row] = []
        again: list[Row] = []
        for row in rows:
            touched.add(row.stream)
            sets = self._load(db, row.stream)
            if sets.received.add(row.seq):
                sets.gapped.discard(row.seq)
                new.append(row)
            else:
                again.append(row)
        # The received-set decides (it outlives a purge); the unique index is the backstop.
        self._insert_new(db, new)
        return again

    def _insert_new(self, db: Database, new: list[Row]) -> None:
        db.executemany(
            "INSERT INTO records(stream, seq, type, received_ms, link, record)"
            " VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(stream, seq) DO NOTHING",
            new,
        )

    def _bind(self, db: Database, binding: Binding) -> None:
        """Write the binding; a new stream closes the device's older ones.

        Only a new one: an old HELLO that somebody replays must not close the stream in use.
        """
        empty = RangeSet().to_bytes()
        db.execute(
            "INSERT INTO devices VALUES(?, 'default', 'default', ?) ON CONFLICT DO NOTHING",
            (binding.device, binding.at_ms),
        )
        db.execute(
            "INSERT INTO streams(stream, device, bound_ms, next_seq, received, gapped) VALUES(?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(stream) DO UPDATE SET next_seq = CASE WHEN streams.next_seq > excluded.next_seq"
            " THEN streams.next_seq ELSE excluded.next_seq END",
            (binding.stream, binding.device, binding.at_ms, binding.next_seq, empty, empty),
        )
        self._sets.pop(binding.stream, None)
        if binding.new:
            self._close_older(db, binding)

    def _close_older(self, db: Database, binding: Binding) -> None:
        older = db.execute(
            "SELECT stream FROM streams WHERE device = ? AND stream != ? AND closed_ms IS NULL",
            (binding.device, binding.stream),
        ).fetchall()
        for (stream,) in older:
            db.execute("UPDATE streams SET closed_ms = ? WHERE stream = ?", (binding.at_ms, stream))
            first = self._load(db, stream).next_seq
            gap = Gap(stream, first, UNKNOWN_END, GAP_STREAM_CLOSED, "host", binding.at_ms)
            self._note_gap(db, gap)

    def _gap(self, db: Database, gap: Gap) -> None:
        """What is stored already is no gap, whatever was announced."""
        self._note_gap(db, gap)
        sets = self._load(db, gap.stream)
        for first, last in sets.received.missing(gap.first, gap.last):
            sets.gapped.add_range(first, last)

    def _note_gap(self, db: Database, gap: Gap) -> None:
        db.execute(
            "INSERT INTO gaps(stream, first_seq, last_seq, reason, source, recorded_ms) VALUES(?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            gap,
        )

    def _load(self, db: Database, stream: int) -> StreamSets:
        sets = self._sets.get(stream)
        if sets is None:
            row = db.execute(
                "SELECT device, next_seq, received, gapped FROM streams WHERE stream = ?", (stream,)
            ).fetchone()
            if row is None:
                raise JournalError(f"stream {stream:08x} belongs to no device here", "was the journal replaced?")
            device, next_seq, received, gapped = row
            sets = StreamSets(device, next_seq, RangeSet.from_bytes(received), RangeSet.from_bytes(gapped))
            self._sets[stream] = sets
        return sets

    def _save(self, db: Database, touched: set[int]) -> None:
        found = []
        for stream in touched:
            sets = self._load(db, stream)
            sets.next_seq = max(sets.next_seq, sets.received.last() + 1)
            found.append((sets.next_seq, sets.received.to_bytes(), sets.gapped.to_bytes(), stream))
        self._update(db, found)

    def _update(self, db: Database, found: list[tuple[int, bytes, bytes, int]]) -> None:
        """next_seq, received and gapped of streams."""
        db.executemany("UPDATE streams SET next_seq = ?, received = ?, gapped = ? WHERE stream = ?", found)

    def _conflicts(self, db: Database, suspects: Iterable[Row | Twin]) -> list[tuple[int, int]]:
        """Those that came with other bytes than the stored ones; what was purged is let go."""
        found: list[tuple[int, int]] = []
        for suspect in suspects:
            stored = db.execute(
                "SELECT record FROM records WHERE stream = ? AND seq = ?",
                (suspect.stream, suspect.seq),
            ).fetchone()
            if stored is not None and stored[0] != suspect.record:
                found.append((suspect.stream, suspect.seq))
        return found

    def _events(self, db: Database, events: list[Event]) -> None:
        if not events:
            return
        db.executemany("INSERT INTO events(at_ms, device, kind, detail) VALUES(?, ?, ?, ?)", events)
        db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (EVENTS_KEPT,))
