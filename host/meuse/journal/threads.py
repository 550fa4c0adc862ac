"""A journal for the event loop: one thread writes, one reads, nobody blocks. Knows no database.

`write` and `commit` share one thread, hence one order; a `write` never holds up a commit longer
than its own transaction, so keep them short. Errors of the database come out as JournalError.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from meuse.errors import JournalError
from meuse.journal.batch import Batch, Outcome
from meuse.journal.purge import purge_step
from meuse.journal.sql import Database
from meuse.journal.writer import Writer

A = TypeVar("A")
T = TypeVar("T")


class Journal:
    """One per process and database. What a database does its own way is `_new_writer` to `_told`."""

    shared = False  # by several hosts
    errors: tuple[type[Exception], ...] = ()  # of the database

    def __init__(self) -> None:
        self.last_id = 0  # position of the newest record that readers may see
        self.grown: list[Callable[[], None]] = []  # called after every commit, on the event loop
        self._writing = ThreadPoolExecutor(1, "journal-writer")
        self._reading = ThreadPoolExecutor(1, "journal-reader")
        self._writer: Writer | None = None
        self._reader: Database | None = None

    def _new_writer(self, now_ms: int) -> Writer:
        raise NotImplementedError

    def _new_reader(self) -> Database:
        raise NotImplementedError

    def _sound_after(self, error: Exception) -> bool:
        """Whether the connection may be used again."""
        raise NotImplementedError

    def _told(self, error: Exception) -> JournalError:
        raise NotImplementedError

    def _view(self, work: Callable[[Database], T]) -> T:
        """In the reading thread."""
        return work(self._open_reader())

    async def start(self, now_ms: int) -> None:
        """Open or create it and bring its tables up to date; raises JournalError with nothing left open."""
        try:
            await self._on(self._writing, self._open, now_ms)
        except BaseException:
            await self.close()
            raise

    def _open(self, now_ms: int) -> None:
        self._writer = self._new_writer(now_ms)
        self._reader = self._new_reader()

    async def commit(self, batch: Batch) -> Outcome:
        """Make a batch durable, all or nothing; after a JournalError it may be tried again."""
        commit = self._open_writer().commit
        outcome: Outcome = await self._on(self._writing, self._sound, commit, batch)
        self._committed(outcome)
        return outcome

    def _committed(self, outcome: Outcome) -> None:
        self.last_id = outcome.last_id
        for tell in self.grown:
            tell()

    async def write(self, work: Callable[[Database], T]) -> T:
        """Run `work` in a transaction of its own, between two commits."""
        return await self._on(self._writing, self._sound, self._open_writer().transaction, work)

    async def read(self, work: Callable[[Database], T]) -> T:
        """Run `work` on a connection that cannot write; waits for earlier reads only."""
        self._open_reader()
        return await self._on(self._reading, self._view, work)

    async def between_reads(self, work: Callable[[], T]) -> T:
        """Run `work`, which needs no database but what reads have learnt, in the reading thread."""
        return await self._on(self._reading, work)

    async def purge(self, before_ms: int, readers: tuple[str, ...]) -> int:
        """Drop one step of records received before `before_ms` that every reader has passed.

        Returns how many went; call again while it is not 0. A reader without a cursor has passed
        nothing. The received-sets stay, so nothing purged is ever stored a second time.
        """
        return await self.write(lambda db: purge_step(db, before_ms, readers))

    async def close(self) -> None:
        """Close both connections; what was committed is already durable."""
        loop = asyncio.get_running_loop()
        # Each in its own thread: a read whose asker has gone may still be under way.
        await loop.run_in_executor(self._reading, self._close_reader)
        await loop.run_in_executor(self._writing, self._close_writer)
        self._reading.shutdown()
        self._writing.shutdown()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise JournalError("the journal is closed")
        return self._writer

    def _open_reader(self) -> Database:
        if self._reader is None:
            raise JournalError("the journal is closed")
        return self._reader

    def _sound(self, call: Callable[[A], T], argument: A) -> T:
        """In the writer's thread: some errors cost the connection its trust."""
        try:
            return call(argument)
        except self.errors as error:
            if not self._sound_after(error) and self._writer is not None:
                self._writer.reopen()
            raise

    async def _on(self, thread: ThreadPoolExecutor, call: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, call, *args)
        except self.errors as error:
            raise self._told(error) from error
