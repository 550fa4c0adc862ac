"""Where a journal is, for whoever opens it beside the host: commands for people, the lake's writer."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meuse.errors import JournalError
from meuse.journal import database
from meuse.journal.sql import Database
from meuse.postgres import Address, errors
from meuse.settings import Settings

# How long a person's command waits for its turn to write.
PATIENCE_MS = 10_000


@dataclass(frozen=True)
class Place:
    """`data`: the host's folder. `address`: of the database that several hosts share; None: a file in the folder."""

    data: Path
    address: Address | None = None

    def __str__(self) -> str:
        return str(self.address or self.data)

    def open_reader(self) -> Database:
        """Cannot write. JournalError when there is no journal."""
        if self.address is not None:
            from meuse.journal import postgres

            return postgres.open_reader(self.address)
        return database.open_reader(self.data / database.FILE_NAME)

    def open_writer(self) -> Database:
        """For one short transaction at a time, between those of the host."""
        if self.address is not None:
            from meuse.journal import postgres

            return postgres.open_writer(self.address)
        database.open_reader(self.data / database.FILE_NAME).close()  # says what is wrong with it
        db = database.open_writer(self.data / database.FILE_NAME)
        db.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        return db

    def open_lake(self) -> Database:
        """Reads like a reader, writes like a writer."""
        if self.address is not None:
            from meuse.journal import postgres

            return postgres.open_reader(self.address)
        return database.open_writer(self.data / database.FILE_NAME)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        if self.address is not None:
            return errors()
        return (sqlite3.Error,)

    def told(self, error: Exception) -> JournalError:
        if self.address is not None:
            from meuse.journal import postgres

            return postgres.told(error, self.address)
        assert isinstance(error, sqlite3.Error)
        return database.told(error, self.data / database.FILE_NAME)


@contextmanager
def reading(place: Place) -> Iterator[Database]:
    """A connection that cannot write; whatever the database says is a JournalError."""
    db = place.open_reader()
    try:
        yield db
    except place.errors as error:
        raise place.told(error) from error
    finally:
        db.close()


def place_of(settings: Settings) -> Place:
    journal = settings.journal
    address = Address(journal.url, journal.password_file, journal.ca) if journal.url else None
    return Place(Path(settings.host.data), address)
