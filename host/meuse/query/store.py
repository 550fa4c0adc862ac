"""One consistent view of everything stored, as SQL: lake and tail together, each row exactly once.

The cursor, the list of files and the tail come from one SQLite read transaction; the files cannot
go while the view is open. Safe while the host is writing, in this process or another.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from meuse import catalog, logical
from meuse.errors import HostError
from meuse.invocation import meuse
from meuse.journal.place import Place, reading
from meuse.journal.sql import Database
from meuse.lake import files, lock, parquet
from meuse.query import around, small, tail
from meuse.query.selection import Selection, known_or_raise
from meuse.readings import Arrays

if TYPE_CHECKING:
    import duckdb

# What a query may take of a small machine; sorts that need more go to files in the lake's folder.
_MEMORY: Final = "512MB"
_THREADS: Final = 2


class Snapshot(NamedTuple):
    """What the journal says at one moment."""

    files: list[Path]
    tail: Arrays
    facts: catalog.Facts
    devices: around.Rows
    gaps: around.Rows
    events: around.Rows


@contextmanager
def opened(
    data: Path | Place,
    selection: Selection = Selection(),  # noqa: B008 - frozen
) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A connection with the views readings, gaps, devices, boots, schemas and events.

    The selection only spares work: what it leaves out may be missing in `readings`, what it wants
    is there; say it again in SQL. Raises JournalError without a journal, ConfigError for names
    that do not exist.
    """
    with ExitStack() as held:
        place = data if isinstance(data, Place) else Place(data)
        data = place.data
        folder = data / files.FOLDER
        if folder.is_dir():
            held.enter_context(lock.reading(folder))
        with reading(place) as journal:
            snapshot = take(journal, folder, selection)
        # Of this process alone; what a killed one leaves, the lake's writer removes.
        spill = (folder if folder.is_dir() else data) / f"{parquet.SPILL}-{os.getpid()}"
        db = held.enter_context(parquet.connect(spill, _THREADS, _MEMORY))
        _views(db, snapshot)
        yield db


def take(journal: Database, folder: Path, selection: Selection) -> Snapshot:
    """Everything the query needs of the journal, in one read transaction."""
    journal.execute("BEGIN")
    try:
        facts = catalog.load(journal)
        check_names(journal, facts, selection)
        return Snapshot(
            [
                _sound(folder, file)
                for file in files.done(journal)
                if selection.overlaps(file.min_ms, file.max_ms) or file.undated
            ],
            tail.load(journal, facts, selection),
            facts,
            around.devices(journal),
            around.gaps(journal),
            around.events(journal),
        )
    finally:
        journal.execute("COMMIT")


def _sound(folder: Path, file: files.LakeFile) -> Path:
    """Its path; HostError when it is not as it was written: no rows without a word about what is missing."""
    wrong = files.damage(folder, file)
    if wrong:
        advice = f"{meuse('doctor')} lists all; --from and --to leave out what lies elsewhere in time"
        raise HostError(f"lake file {folder / file.name} is {wrong}", advice)
    return folder / file.name


def check_names(journal: Database, facts: catalog.Facts, selection: Selection) -> None:
    """ConfigError for a device or channel that was never seen."""
    devices = {str(row[0]) for row in around.devices(journal)}
    known_or_raise("device", selection.devices, devices)
    channels = {channel[0] for schema in facts.schemas.values() for channel in schema.channels}
    known_or_raise("channel", selection.channels, channels)


def _views(db: "duckdb.DuckDBPyConnection", snapshot: Snapshot) -> None:
    logical.register(db, "tail", snapshot.tail)
    db.execute(f"CREATE VIEW tail AS {logical.select('tail')}")
    parts = ["SELECT * FROM tail"]
    if snapshot.files:
        parts.append(parquet.read(snapshot.files))
    db.execute(f"CREATE VIEW readings AS {' UNION ALL '.join(parts)}")
    small.view(db, "devices", around.DEVICES, snapshot.devices)
    small.view(db, "boots", around.BOOTS, around.boots(snapshot.facts))
    small.view(db, "gaps", around.GAPS, snapshot.gaps)
    small.view(db, "events", around.EVENTS, snapshot.events)
    small.view(db, "schemas", around.SCHEMAS, around.schemas(snapshot.facts))
