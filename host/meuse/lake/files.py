"""The table `lake_files` and the folder beside it: which file is whose, in which state.

A file counts only while its row says `done`. Everything here is one step of SQL or of the file
system; writer.py and merge.py say in which order they happen.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from meuse.journal.sql import Database

CURSOR: Final = "lake"
FOLDER: Final = "lake"
SUFFIX: Final = ".parquet"

# A Parquet file begins and ends with it.
_MARK: Final = b"PAR1"

WRITING: Final = "writing"  # the range is fixed; the file may be missing, torn or whole
DONE: Final = "done"  # the only state that queries read
MERGING: Final = "merging"  # to take the place of several done files; may be missing or whole
MERGED: Final = "merged"  # its rows stand in another file; to be deleted


class LakeFile(NamedTuple):
    """One row of `lake_files`; the times are measured times of its dated rows."""

    name: str
    first_id: int
    last_id: int
    rows: int
    min_ms: int | None
    max_ms: int | None
    undated: int
    bytes: int


class Content(NamedTuple):
    """What is known of a file once it is written."""

    rows: int
    bytes: int
    min_ms: int | None
    max_ms: int | None
    undated: int


def journal_id(db: Database) -> str:
    (value,) = db.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()
    return str(value)


def file_name(journal: str, first_id: int, last_id: int) -> str:
    return f"{journal}-{first_id}-{last_id}{SUFFIX}"


def done(db: Database) -> list[LakeFile]:
    """All files that hold rows, oldest records first."""
    return _in_state(db, DONE)


def unfinished(db: Database, state: str) -> list[LakeFile]:
    """What a crash left in this state."""
    return _in_state(db, state)


def _in_state(db: Database, state: str) -> list[LakeFile]:
    rows = db.execute(
        "SELECT name, first_id, last_id, coalesce(rows, 0), min_ms, max_ms, coalesce(undated, 0),"
        " coalesce(bytes, 0)"
        " FROM lake_files WHERE state = ? ORDER BY first_id",
        (state,),
    )
    return [LakeFile(*row) for row in rows]


def damage(folder: Path, file: LakeFile) -> str:
    """What is wrong with a done file, as far as its length and its two ends tell; empty if nothing."""
    try:
        with (folder / file.name).open("rb") as content:
            size = content.seek(0, os.SEEK_END)
            ends = []
            for at in (0, max(0, size - len(_MARK))):
                content.seek(at)
                ends.append(content.read(len(_MARK)))
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"not readable: {error.strerror}"
    return "" if size == file.bytes and ends == [_MARK, _MARK] else "damaged"


def begin(db: Database, name: str, first_id: int, last_id: int, state: str, now_ms: int) -> None:
    db.execute(
        "INSERT INTO lake_files(name, first_id, last_id, state, made_ms) VALUES(?, ?, ?, ?, ?)",
        (name, first_id, last_id, state, now_ms),
    )


def finish(db: Database, name: str, content: Content, now_ms: int) -> None:
    db.execute(
        "UPDATE lake_files SET state = ?, made_ms = ?, rows = ?, bytes = ?, min_ms = ?,"
        " max_ms = ?, undated = ? WHERE name = ?",
        (DONE, now_ms, *content, name),
    )


def set_state(db: Database, name: str, state: str) -> None:
    db.execute("UPDATE lake_files SET state = ? WHERE name = ?", (state, name))


def forget(db: Database, name: str) -> None:
    db.execute("DELETE FROM lake_files WHERE name = ?", (name,))


class transaction:
    """`with transaction(db):` all of it becomes durable, or nothing, whatever is raised inside."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def temporary(folder: Path, name: str) -> Path:
    """Where a file grows; programs that read a folder pass over names with a dot in front."""
    return folder / f".{name}.tmp"


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(data: Path) -> Path:
    """The lake's folder, made durable if it is new."""
    folder = data / FOLDER
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync(data)
    return folder
