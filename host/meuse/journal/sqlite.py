"""The journal in a file of SQLite: one host, one folder."""

import sqlite3
from pathlib import Path

from meuse.errors import JournalError
from meuse.journal.database import open_reader, primary_code, told
from meuse.journal.sql import Database
from meuse.journal.threads import Journal
from meuse.journal.writer import Writer, newest_id

# What leaves the connection sound, so that the next try may use it.
_SOUND = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


class SqliteJournal(Journal):
    """Open with `await SqliteJournal.open(path, now_ms)`; one per process and file."""

    errors = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @classmethod
    async def open(cls, path: Path, now_ms: int) -> "SqliteJournal":
        """Open or create the file and bring its tables up to date; raises JournalError."""
        journal = cls(path)
        await journal.start(now_ms)
        journal.last_id = await journal.read(newest_id)
        return journal

    def _new_writer(self, now_ms: int) -> Writer:
        return Writer(self.path, now_ms)

    def _new_reader(self) -> Database:
        return open_reader(self.path)

    def _sound_after(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.Error) and primary_code(error) in _SOUND

    def _told(self, error: Exception) -> JournalError:
        assert isinstance(error, sqlite3.Error)
        return told(error, self.path)
