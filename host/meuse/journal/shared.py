"""The journal in PostgreSQL, for the event loop: several hosts write and read it at the same time.

`last_id` is what readers may see: it follows the commits of all hosts, so `grown` is called for those of others too.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from meuse.errors import JournalError
from meuse.journal import postgres
from meuse.journal.batch import Outcome
from meuse.journal.postgres import AGAIN, PostgresDatabase
from meuse.journal.postgres_writer import PostgresWriter
from meuse.journal.sql import Database
from meuse.journal.threads import Journal
from meuse.journal.writer import Writer
from meuse.postgres import Address, errors

T = TypeVar("T")

# How soon the commits of other hosts are seen here; one's own at once.
LOOK_S = 0.2


class PostgresJournal(Journal):
    """Open with `await PostgresJournal.open(address, now_ms)`."""

    shared = True

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.address = address
        self.errors = errors()
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: Address, now_ms: int) -> "PostgresJournal":
        """Connect, and bring the tables up to date; raises JournalError."""
        journal = cls(address)
        await journal.start(now_ms)
        journal.last_id = await journal.read(_newest)
        journal._looking = asyncio.create_task(journal._look(), name="journal")
        return journal

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await super().close()

    async def _look(self) -> None:
        """Until cancelled. A server that is away is the commit queue's to report."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            with contextlib.suppress(JournalError):
                newest = await self.read(_newest)
                if newest > self.last_id:
                    self.last_id = newest
                    for tell in self.grown:
                        tell()

    def _committed(self, outcome: Outcome) -> None:
        self._wake.set()
        for tell in self.grown:  # events and gaps, which have no number here
            tell()

    def _view(self, work: Callable[[Database], T]) -> T:
        """One view of everything, up to the oldest transaction that is open."""
        db = self._open_reader()
        assert isinstance(db, PostgresDatabase)
        if db.lost:
            db.close()
            db = self._reader = postgres.open_reader(self.address)
        try:
            db.execute("BEGIN")
            found = work(db)
            db.execute("COMMIT")
            return found
        except self.errors as error:
            if not self._sound_after(error):
                db.close()
            raise
        finally:
            if db.in_transaction and not db.lost:
                db.execute("ROLLBACK")

    def _new_writer(self, now_ms: int) -> Writer:
        return PostgresWriter(self.address, now_ms)

    def _new_reader(self) -> Database:
        return postgres.open_reader(self.address)

    def _sound_after(self, error: Exception) -> bool:
        code = getattr(error, "sqlstate", None) or ""
        return code in AGAIN or (bool(code) and not code.startswith(("08", "57", "25")))

    def _told(self, error: Exception) -> JournalError:
        return postgres.told(error, self.address)


def _newest(db: Database) -> int:
    return int(db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()[0])
