"""How every part of the host opens the journal's file, and SQLite's errors in words; knows no tables."""

import sqlite3
from pathlib import Path

from meuse.errors import JournalBusy, JournalError
from meuse.invocation import meuse
from meuse.journal.migrations import STEPS, newer

FILE_NAME = "journal.sqlite"

# A reader in another process may hold the lock for a moment; longer than this is an error that
# the caller answers (the commit queue keeps its batch and tries again).
BUSY_TIMEOUT_S = 1.0

# 4,096 pages of 4 kB: fewer, larger checkpoints (16 MB) halve the writes of the default 1,000.
CHECKPOINT_PAGES = 4096

# What a checkpointed write-ahead log may keep on disk.
WAL_KEEP_BYTES = 64 * 1024 * 1024


def open_writer(path: Path) -> sqlite3.Connection:
    """Connection for the one writer thread: WAL, every commit on disk before it returns."""
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Connection that cannot write, to a journal that exists; for any thread or process.

    Raises JournalError when it is missing, empty, no journal, or newer than this program.
    """
    if not path.exists():
        raise JournalError(f"there is no journal at {path}", f"start one: {meuse('run --sim')}")
    # mode=rw, since a read-only handle cannot recover a write-ahead log that was left behind.
    db = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw",
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    try:
        db.execute("PRAGMA query_only = ON")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            raise JournalError(f"{path} is empty", f"start a host on it: {meuse('run')}")
        if version > len(STEPS):
            raise newer(version)
    except sqlite3.Error as error:
        db.close()
        raise told(error, path) from error
    except BaseException:
        db.close()
        raise
    return db


def told(error: sqlite3.Error, path: Path) -> JournalError:
    """The same error in words, with what to do next."""
    code = primary_code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalBusy(f"{path} is locked by another program", "close what holds it open")
    if code == sqlite3.SQLITE_FULL:
        return JournalError(f"the disk under {path} is full", "free some space")
    return JournalError(f"{path}: {error}", f"check the disk; {meuse('doctor')} says more")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary error code; 0 when Python raised before SQLite was asked."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
