"""The writer of a journal that several hosts share: what a batch touches is locked first, and looked up again if
another host has written it since. Runs in the writer's thread only.

A row of `streams` is locked from the first look until the commit, in the order of the streams, so that one stream's
set is never written from two sides. Its `version` tells whether what is remembered still holds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from meuse_protocol.received import RangeSet

from meuse.journal import postgres, postgres_tables
from meuse.journal.batch import Batch, Binding, Gap, Learned, Outcome, Row
from meuse.journal.postgres import PostgresDatabase
from meuse.journal.sql import Database
from meuse.journal.writer import StreamSets, Writer
from meuse.postgres import Address, errors

T = TypeVar("T")

# Two hosts that close each other's streams may meet crosswise: the server ends one of them, which tries again.
TRIES = 5


class PostgresWriter(Writer):
    """Every method raises what the driver raises, with nothing changed."""

    def __init__(self, address: Address, now_ms: int) -> None:
        self._address = address
        self._versions: dict[int, int] = {}
        self._learned: set[int] = set()  # of this batch: what another host has written
        super().__init__(Path(), now_ms)

    def _connect(self, now_ms: int) -> Database:
        db = postgres.open_writer(self._address)
        try:
            postgres_tables.migrate(db)
            self._name(db, now_ms)
        except BaseException:
            db.close()
            raise
        return db

    def reopen(self) -> None:
        """Only lets go: the next transaction connects, should the server be there again."""
        self._db.close()
        self._sets.clear()
        self._versions.clear()

    def transaction(self, work: Callable[[Database], T]) -> T:
        for attempt in range(1, TRIES + 1):
            if isinstance(self._db, PostgresDatabase) and self._db.lost:
                self._db.close()
                self._db = postgres.open_writer(self._address)
            try:
                return super().transaction(work)
            except errors() as error:
                if getattr(error, "sqlstate", None) not in postgres.AGAIN or attempt == TRIES:
                    raise
                self._sets.clear()
                self._versions.clear()
        raise AssertionError

    def _write(self, db: Database, batch: Batch, touched: set[int]) -> Outcome:
        self._learned.clear()
        # In one order on every host: the streams that are new here, then all that are touched.
        for binding in sorted(batch.bindings):
            self._bind_row(db, binding)
        known = {row.stream for row in batch.rows} | {gap.stream for gap in batch.gaps}
        self._lock(db, known | {binding.stream for binding in batch.bindings})
        db.execute("SELECT meuse_enter()")
        foreign = {one.stream for one in batch.bindings if self._load(db, one.stream).device != one.device}
        self._learned |= foreign
        outcome = super()._write(db, _without(batch, foreign) if foreign else batch, touched)
        learned = tuple(self._as_learned(db, stream) for stream in sorted(self._learned))
        return Outcome(outcome.last_id, outcome.conflicts, learned)

    def _bind_row(self, db: Database, binding: Binding) -> None:
        empty = RangeSet().to_bytes()
        db.execute(
            "INSERT INTO devices VALUES(?, 'default', 'default', ?) ON CONFLICT DO NOTHING",
            (binding.device, binding.at_ms),
        )
        db.execute(
            "INSERT INTO streams(stream, device, bound_ms, next_seq, received, gapped) VALUES(?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (binding.stream, binding.device, binding.at_ms, binding.next_seq, empty, empty),
        )

    def _bind(self, db: Database, binding: Binding) -> None:
        """The row is there. Newer than every other is only a stream that no host knew: nothing came under it yet."""
        sets = self._load(db, binding.stream)
        sets.next_seq = max(sets.next_seq, binding.next_seq)
        if binding.new and self._versions[binding.stream] == 0:
            self._close_older(db, binding)

    def _newest(self, db: Database) -> int:
        return 0  # what readers may see is another question: PostgresJournal asks it

    def _lock(self, db: Database, streams: set[int]) -> None:
        rows = db.execute(
            "SELECT stream, version FROM streams WHERE stream = ANY(?) ORDER BY stream FOR UPDATE", (sorted(streams),)
        ).fetchall()
        for stream, version in rows:
            if self._versions.get(stream) != version:
                self._sets.pop(stream, None)
                self._learned.add(stream)
                self._versions[stream] = version

    def _load(self, db: Database, stream: int) -> StreamSets:
        if stream not in self._versions:
            self._lock(db, {stream})
        return super()._load(db, stream)

    def _insert_new(self, db: Database, new: list[Row]) -> None:
        if new:
            db.execute(
                "INSERT INTO journal_records(stream, seq, type, received_ms, link, record)"
                " SELECT * FROM unnest(?::BIGINT[], ?::BIGINT[], ?::BIGINT[], ?::BIGINT[], ?::TEXT[], ?::BYTEA[])"
                " ON CONFLICT(stream, seq) DO NOTHING",
                tuple(map(list, zip(*new, strict=True))),
            )

    def _note_gap(self, db: Database, gap: Gap) -> None:
        """What this host alone misses another may have stored."""
        received = self._load(db, gap.stream).received
        if gap.source == "board" or received.missing(gap.first, gap.last):
            super()._note_gap(db, gap)

    def _update(self, db: Database, found: list[tuple[int, bytes, bytes, int]]) -> None:
        if found:
            db.execute(
                "UPDATE streams SET next_seq = new.next_seq, received = new.received, gapped = new.gapped,"
                " version = version + 1 FROM unnest(?::BIGINT[], ?::BYTEA[], ?::BYTEA[], ?::BIGINT[])"
                " AS new(next_seq, received, gapped, stream) WHERE streams.stream = new.stream",
                tuple(map(list, zip(*found, strict=True))),
            )
        for *_, stream in found:
            self._versions[stream] += 1

    def _as_learned(self, db: Database, stream: int) -> Learned:
        sets = self._load(db, stream)
        return Learned(stream, sets.device, sets.next_seq, sets.received.to_bytes(), sets.gapped.to_bytes())


def _without(batch: Batch, streams: set[int]) -> Batch:
    """The same batch, but for streams that are another device's: two boards have taken the same number."""
    rows = [row for row in batch.rows if row.stream not in streams]
    bindings = [binding for binding in batch.bindings if binding.stream not in streams]
    gaps = [gap for gap in batch.gaps if gap.stream not in streams]
    return Batch(rows, bindings, gaps, batch.events, batch.twins, batch.bytes)
