"""The one bounded queue between the links and the journal; tells the sessions what is durable.

Group commit with gap 0: whatever arrived while the last commit ran is the next one. When the queue
is full, or the journal fails, `pressure` holds every link (nothing is read, windows go to 0) until
there is room again. A batch that fails is kept and tried again; nothing is acknowledged meanwhile.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from meuse.clock import Clock
from meuse.errors import JournalError
from meuse.journal.batch import Batch, Binding, Event, Gap, Learned, Outcome, Row, Twin

log = logging.getLogger(__name__)

# What may wait or be under way. 4 MB holds 8 s of the fastest board fleet measured, and 10,000
# records keep one transaction below a second on an SD card.
MAX_BYTES = 4 * 1024 * 1024
MAX_RECORDS = 10_000

# Reading starts again at half, so that links are not held and released for every record.
RESUME_SHARE = 0.5

# Events wait here while the journal fails; the oldest go first, counted.
MAX_EVENTS = 1_000

# Tries after a failure: quick at first (a lock), then often enough to feel immediate to a person.
RETRY_FIRST_MS = 50
RETRY_MAX_MS = 1_000


class Journal(Protocol):
    """What the queue needs of a journal; SQLite is one, PostgreSQL another."""

    async def commit(self, batch: Batch) -> Outcome: ...


class Session(Protocol):
    """Who is told when records are durable."""

    def stored(self, seqs: dict[int, list[int]], gaps: list[Gap], waited_ms: int) -> None:
        """`seqs` per stream and `gaps` are durable; the batch's oldest waited so long."""

    def conflict(self, stream: int, seq: int) -> None:
        """This record is stored already, with other bytes."""


class _Waiting:
    """One batch with those to tell about it."""

    def __init__(self) -> None:
        self.batch = Batch()
        self.since_ms = 0  # when the first came
        self.told: dict[Session, tuple[dict[int, list[int]], list[Gap]]] = {}
        self.twins_of: dict[tuple[int, int], Session] = {}
        self.settled: list[asyncio.Future[None]] = []

    def sessions_of(self, stream: int, seq: int) -> list[Session]:
        """Those that brought this record."""
        brought = [who for who, (seqs, _) in self.told.items() if seq in seqs.get(stream, ())]
        twin = self.twins_of.get((stream, seq))
        return brought if twin is None or twin in brought else [*brought, twin]


class CommitQueue:
    """Filled by sessions on the event loop; emptied by `run`."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        pressure: Callable[[bool], None],
        max_bytes: int = MAX_BYTES,
        max_records: int = MAX_RECORDS,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._pressure = pressure
        self._max_bytes = max_bytes
        self._max_records = max_records
        self._waiting = _Waiting()
        self._under_way: _Waiting | None = None
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._wake = asyncio.Event()
        self._closing = False
        self._held = False
        self.learn: Callable[[Learned], bool] = lambda known: True  # False: the stream is another device's
        self.bytes = 0  # waiting and under way
        self.records = 0
        self.failing: JournalError | None = None
        self.commits = 0
        self.committed = 0
        self.failures = 0
        self.times_full = 0
        self.events_dropped = 0
        self.conflicts = 0

    @property
    def held(self) -> bool:
        """True while no link may be read."""
        return self._held

    def record(self, session: Session, row: Row) -> None:
        """Queue one record; `session` hears when it is durable."""
        waiting = self._waiting
        waiting.batch.rows.append(row)
        told = waiting.told.get(session)
        if told is None:
            told = waiting.told[session] = ({}, [])
        streams = told[0]
        seqs = streams.get(row.stream)
        if seqs is None:
            seqs = streams[row.stream] = []
        seqs.append(row.seq)
        self._grown(len(row.record))

    def twin(self, session: Session, twin: Twin) -> None:
        """Queue a record that is stored already, to be compared with what is stored."""
        self._waiting.batch.twins.append(twin)
        self._waiting.twins_of[twin.stream, twin.seq] = session
        self._grown(len(twin.record))

    def binding(self, binding: Binding) -> None:
        self._waiting.batch.bindings.append(binding)
        self._grown(len(binding.device))

    def gap(self, session: Session, gap: Gap) -> None:
        """Queue an announcement; `session` hears when it is durable."""
        self._waiting.batch.gaps.append(gap)
        self._waiting.told.setdefault(session, ({}, []))[1].append(gap)
        self._grown(0)

    def event(self, kind: str, device: str | None, detail: str) -> None:
        """Note something for people; never holds a link, so the oldest are dropped when it must."""
        if len(self._events) == MAX_EVENTS:
            self.events_dropped += 1
        self._events.append(Event(self._clock.utc_ms(), device, kind, detail))
        self._wake.set()

    def settled(self) -> asyncio.Future[None]:
        """Done when everything that waits now, or is under way, is durable and those who brought it were told."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last = self._under_way if self._waiting.batch.empty() else self._waiting
        if last is None:
            future.set_result(None)
        else:
            last.settled.append(future)
        return future

    def close(self) -> None:
        """Let `run` return as soon as everything is durable, or a last try has failed."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Commit until closed. Only one may run."""
        while True:
            if self._waiting.batch.empty() and not self._events:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            if not await self._commit(self._take()):
                return

    def _grown(self, size: int) -> None:
        self.bytes += size
        self.records += 1
        self._waiting.batch.bytes += size
        if not self._waiting.since_ms:
            self._waiting.since_ms = self._clock.now_ms()
            self._wake.set()
        if not self._held and (self.records >= self._max_records or self.bytes >= self._max_bytes):
            self.times_full += 1
            self._hold(True)

    def _take(self) -> _Waiting:
        taken = self._under_way = self._waiting
        taken.batch.events.extend(self._events)
        self._events.clear()
        self._waiting = _Waiting()
        return taken

    async def _commit(self, taken: _Waiting) -> bool:
        """Try until it is durable; False when closing and the journal still fails."""
        pause_ms = RETRY_FIRST_MS
        failed_at_ms = 0
        while True:
            try:
                outcome = await self._journal.commit(taken.batch)
                break
            except JournalError as error:
                failed_at_ms = failed_at_ms or self._clock.utc_ms()
                self._failed(error)
            if self._closing:
                return False
            await asyncio.sleep(pause_ms / 1000)
            pause_ms = min(2 * pause_ms, RETRY_MAX_MS)
        if failed_at_ms:
            self._recovered(failed_at_ms)
        self._done(taken, outcome)
        return True

    def _failed(self, error: JournalError) -> None:
        self.failures += 1
        if self.failing is None:
            log.error("journal: %s; nothing is acknowledged. %s", error.message, error.advice)
        self.failing = error
        if not self._held:
            self._hold(True)

    def _recovered(self, failed_at_ms: int) -> None:
        error = self.failing
        assert error is not None
        self.failing = None
        lasted_ms = self._clock.utc_ms() - failed_at_ms
        log.warning("journal: writing again after %d ms", lasted_ms)
        self._events.append(Event(failed_at_ms, None, "journal-failed", error.message))
        self.event("journal-recovered", None, f"after {lasted_ms} ms")

    def _done(self, taken: _Waiting, outcome: Outcome) -> None:
        batch = taken.batch
        self._under_way = None
        self.bytes -= batch.bytes
        self.records -= len(batch.rows) + len(batch.twins) + len(batch.bindings) + len(batch.gaps)
        self.commits += 1
        self.committed += len(batch.rows)
        if self._held and self._has_room():
            self._hold(False)
        waited_ms = self._clock.now_ms() - taken.since_ms
        foreign = {known.stream for known in outcome.learned if not self.learn(known)}
        for session, (seqs, gaps) in taken.told.items():
            for stream in foreign:
                seqs.pop(stream, None)
            session.stored(seqs, [gap for gap in gaps if gap.stream not in foreign], waited_ms)
        for stream, seq in outcome.conflicts:
            self._conflict(taken, stream, seq)
        for future in taken.settled:
            if not future.done():
                future.set_result(None)

    def _has_room(self) -> bool:
        return self.records <= self._max_records * RESUME_SHARE and self.bytes <= self._max_bytes * RESUME_SHARE

    def _hold(self, held: bool) -> None:
        self._held = held
        self._pressure(held)

    def _conflict(self, taken: _Waiting, stream: int, seq: int) -> None:
        self.conflicts += 1
        self.event("conflict", None, f"stream {stream:08x} seq {seq}: other bytes than stored")
        for session in taken.sessions_of(stream, seq):
            session.conflict(stream, seq)
