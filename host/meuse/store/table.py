"""The logical table as PostgreSQL has it, and how arrays come into it; knows no journal.

Rows are copied into a temporary table and taken over from there unless (stream, seq, row, channel) is there already,
so the same rows may come any number of times. PostgreSQL 15 or later: a marked record has no channel, and only since
then a unique index can say that two of those are the same.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from meuse import logical
from meuse.lake import parquet
from meuse.readings import Arrays
from meuse.store.connection import StoreError

if TYPE_CHECKING:
    from meuse.store.connection import Connection

TABLE: Final = "readings"

# PostgreSQL's text holds no NUL; this sign stands for it, as in other programs that show text.
NUL: Final = "\N{SYMBOL FOR NULL}"

_TYPES: Final = {
    "VARCHAR": "text",
    "TIMESTAMPTZ": "timestamptz",
    "DOUBLE": "double precision",
    "BIGINT": "bigint",
    "INTEGER": "integer",
}
_OLDEST: Final = 150_000
_COLUMNS: Final = ", ".join(f'"{name}"' for name in logical.COLUMNS)
_DEFINED: Final = ", ".join(f'"{name}" {_TYPES[kind]}' for name, (kind, _) in logical.COLUMNS.items())
_TEXTS: Final = ", ".join(f'"{name}"' for name, (kind, _) in logical.COLUMNS.items() if kind == "VARCHAR")

# Quoted text is never null and the empty value always is: both programs agree on that.
_FORM: Final = f"FORMAT csv, HEADER false, NULLSTR '', FORCE_QUOTE ({_TEXTS}), USE_TMP_FILE false"


def create(db: "Connection") -> None:
    """Make the table where it is not there yet, within the caller's transaction; raises StoreError for an old server.

    With TimescaleDB it is a hypertable by the time of receipt: that is never null and never changes, while a record
    that comes again may be dated better than the first time, and a unique index there must hold the time.
    """
    [[version]] = db.run("SELECT current_setting('server_version_num')::int")
    if version < _OLDEST:
        raise StoreError("the store needs PostgreSQL 15 or later", "use a newer server, or leave store.url out")
    [[there]] = db.run("SELECT to_regclass($1::text) IS NOT NULL", TABLE)
    if there:
        return
    [[hyper]] = db.run("SELECT EXISTS(SELECT FROM pg_extension WHERE extname = 'timescaledb')")
    db.run(f"CREATE TABLE {TABLE}({_DEFINED})")
    for name, (_, meaning) in logical.COLUMNS.items():
        quoted = meaning.replace("'", "''")
        db.run(f"COMMENT ON COLUMN {TABLE}.\"{name}\" IS '{quoted}'")
    if hyper:
        db.run(f"SELECT create_hypertable('{TABLE}', 'received_at', chunk_time_interval => INTERVAL '1 day')")
    key = 'stream, seq, "row", channel' + (", received_at" if hyper else "")
    db.run(f"CREATE UNIQUE INDEX {TABLE}_once ON {TABLE}({key}) NULLS NOT DISTINCT")
    db.run(f"CREATE INDEX {TABLE}_by_time ON {TABLE}(device, channel, measured_at)")


def prepare(db: "Connection") -> None:
    """What every connection needs before `Copier.copy`."""
    db.run(f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming(LIKE {TABLE}) ON COMMIT DELETE ROWS")


class Copier:
    """Holds DuckDB, which turns arrays into text, and a folder for that text. Close it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="meuse-store-")
        self._path = Path(self._folder.name) / "rows.csv"
        self._duckdb = parquet.connect(Path(self._folder.name) / parquet.SPILL)

    def __enter__(self) -> "Copier":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._duckdb.close()
        self._folder.cleanup()

    def copy(self, db: "Connection", arrays: Arrays) -> int:
        """Put the rows that are not there yet into the table; part of the caller's transaction. Returns how many."""
        if not arrays.length:
            return 0
        shown = arrays._replace(texts=[text and text.replace("\0", NUL) for text in arrays.texts])
        logical.register(self._duckdb, "new", shown)
        self._duckdb.execute(f"COPY (\n{logical.select('new')}\n) TO {parquet.literal(self._path)} ({_FORM})")
        db.copy("incoming", self._path)
        self._path.unlink()
        return db.change(f"INSERT INTO {TABLE}({_COLUMNS}) SELECT {_COLUMNS} FROM incoming ON CONFLICT DO NOTHING")
