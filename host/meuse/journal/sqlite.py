"""The journal over SQLite, for the event loop: one thread writes, one reads, nobody blocks.

`write` and `commit` share one thread, hence one order; a `write` never holds up a commit longer
than its own transaction, so keep them short. Errors of SQLite come out as JournalError.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from meuse.errors import JournalError
from meuse.journal.batch import Batch, Outcome
from meuse.journal.database import open_reader, primary_code, told
from meuse.journal.purge import purge_step
from meuse.journal.writer import Writer, newest_id

A = TypeVar("A")
T = TypeVar("T")

# What leaves the connection sound, so that the next try may use it.
_SOUND = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


class SqliteJournal:
    """Open with `await SqliteJournal.open(path, now_ms)`; one per process and file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_id = 0  # position of the newest durable record
        self.grown: list[Callable[[], None]] = []  # called after every commit, on the event loop
        self._writing = ThreadPoolExecutor(1, "journal-writer")
        self._reading = ThreadPoolExecutor(1, "journal-reader")
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None

    @classmethod
    async def open(cls, path: Path, now_ms: int) -> "SqliteJournal":
        """Open or create the file and bring its tables up to date; raises JournalError."""
        journal = cls(path)
        try:
            await journal._on(journal._writing, journal._open, now_ms)
        except BaseException:
            await journal.close()
            raise
        journal.last_id = await journal.read(newest_id)
        return journal

    def _open(self, now_ms: int) -> None:
        self._writer = Writer(self.path, now_ms)
        self._reader = open_reader(self.path)

    async def commit(self, batch: Batch) -> Outcome:
        """Make a batch durable, all or nothing; after a JournalError it may be tried again."""
        commit = self._open_writer().commit
        outcome: Outcome = await self._on(self._writing, self._sound, commit, batch)
        self.last_id = outcome.last_id
        for tell in self.grown:
            tell()
        return outcome

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own, between two commits."""
        return await self._on(self._writing, self._sound, self._open_writer().transaction, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a connection that cannot write; waits for earlier reads only."""
        reader = self._reader
        if reader is None:
            raise JournalError("the journal is closed")
        return await self._on(self._reading, work, reader)

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

    def _sound(self, call: Callable[[A], T], argument: A) -> T:
        """In the writer's thread: an error of the disk costs the connection its trust."""
        try:
            return call(argument)
        except sqlite3.Error as error:
            if primary_code(error) not in _SOUND and self._writer is not None:
                self._writer.reopen()
            raise

    async def _on(self, thread: ThreadPoolExecutor, call: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, call, *args)
        except sqlite3.Error as error:
            raise told(error, self.path) from error
