"""How every part of the host opens the journal's file; knows SQLite's settings, no tables."""

import sqlite3
from pathlib import Path

from meuse.errors import JournalError

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
    """Connection that cannot write, to a journal that exists; for any thread or process."""
    if not path.exists():
        raise JournalError(f"there is no journal at {path}", "start one: meuse run --sim")
    # mode=rw, since a read-only handle cannot recover a write-ahead log that was left behind.
    db = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw",
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    db.execute("PRAGMA query_only = ON")
    return db
