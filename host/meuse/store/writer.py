"""Deliveries become rows in PostgreSQL: one transaction each, any number of times, from any number of processes.

Synchronous: runs in a thread. After a StoreError nothing of the delivery is there, or all of it and the answer was
lost; the same delivery may come again in both cases.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from meuse import catalog
from meuse.decode import Block, decode
from meuse.delivery import Delivery
from meuse.lake import parked
from meuse.lake.policy import Policy
from meuse.postgres import Address, errors
from meuse.readings import Readings
from meuse.store import known, table, waiting
from meuse.store.connection import Connection, told

# Two that start at the same time do not make the tables at the same time.
_LOCK: Final = 0x6D65757365  # "meuse"


class Store:
    """One connection, opened when it is needed and given up at any error. Use it from one thread at a time."""

    def __init__(self, address: Address, utc_ms: Callable[[], int], policy: Policy | None = None) -> None:
        self._address = address
        self._utc_ms = utc_ms
        self._policy = policy or Policy()
        self._db: Connection | None = None
        self._copier = table.Copier()
        self.rows = 0  # written by this one

    def close(self) -> None:
        self._give_up()
        self._copier.close()

    def write(self, delivery: Delivery) -> int:
        """Rows of a delivery, and of what waited for something in it; returns how many were new. Raises StoreError."""
        with self._transaction() as db:
            new, streams = self._write(db, delivery)
        if streams:
            new += self.sweep(streams)
        return new

    def sweep(self, streams: set[int] | None = None) -> int:
        """Write what need not wait any longer, of all streams or of these; returns how many rows were new."""
        with self._transaction() as db:
            groups = [group for group in waiting.groups(db) if streams is None or group[0] in streams]
            facts = known.load(db, {}, {stream for stream, _, _ in groups})
        before_ms = self._utc_ms() - self._policy.parked_ms
        new = 0
        for stream, why, since_ms in groups:
            if not waiting.may_end(facts, stream, why) and since_ms > before_ms:
                continue
            after: int | None = -1
            while after is not None:
                with self._transaction() as db:
                    rows, after = self._resolve(db, stream, why, after, before_ms)
                new += rows
        return new

    # -- inside

    def _write(self, db: Connection, delivery: Delivery) -> tuple[int, set[int]]:
        """-> new rows, streams of which something became known."""
        records = delivery.records
        facts_of = (catalog.fact(one.stream, one.type, one.received_ms, one.record) for one in records)
        streams = known.add(db, (fact for fact in facts_of if fact is not None))
        facts = known.load(db, delivery.origins, {one.stream for one in records})
        readings = Readings(facts)
        late: list[Block] = []
        for one in records:
            block = decode(one, facts)
            if block is not None and block.waits:
                late.append(block)
            elif block is not None:
                readings.add(block)
        waiting.add(db, [(block.stored, parked.reason(block)) for block in late], facts, self._utc_ms())
        return self._copy(db, readings), streams

    def _resolve(self, db: Connection, stream: int, why: str, after_seq: int, before_ms: int) -> tuple[int, int | None]:
        """One step through a group -> new rows, and behind which seq to go on; None at its end."""
        found = waiting.take(db, stream, why, after_seq)
        if not found:
            return 0, None
        facts = known.load(db, {stream: found[0].origin}, {stream})
        readings = Readings(facts)
        late: list[Block] = []
        done: list[int] = []
        for one in found:
            block = decode(one.stored, facts)
            if block is not None and block.waits and one.since_ms > before_ms:
                continue
            done.append(one.stored.seq)
            if block is not None and block.waits:
                late.append(block)
            elif block is not None:
                readings.add(block)
        parked.add_as_they_stand(readings, late)
        waiting.remove(db, stream, done)
        return self._copy(db, readings), found[-1].stored.seq

    def _copy(self, db: Connection, readings: Readings) -> int:
        new = self._copier.copy(db, readings.arrays())
        self.rows += new
        return new

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """All or nothing; whatever goes wrong costs the connection."""
        try:
            db = self._open()
            db.run("START TRANSACTION")
            yield db
            db.run("COMMIT")
        except errors() as error:
            self._give_up()
            raise told(error, self._address) from error
        except BaseException:
            self._give_up()
            raise

    def _open(self) -> Connection:
        if self._db is None:
            db = Connection(self._address)
            try:
                db.run("START TRANSACTION")
                db.run("SELECT pg_advisory_xact_lock($1)", _LOCK)
                table.create(db)
                for statement in (*known.CREATE, *waiting.CREATE):
                    db.run(statement)
                db.run("COMMIT")
                table.prepare(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _give_up(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
