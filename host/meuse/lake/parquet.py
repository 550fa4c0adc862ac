"""Arrays and Parquet files, through DuckDB in memory; knows no journal and no names.

Same rows, same bytes: one thread, no sorting by DuckDB, no time stamp in the file.
"""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meuse import logical
from meuse.dating import UNDATED
from meuse.lake.files import Content
from meuse.readings import Arrays

if TYPE_CHECKING:
    import duckdb

# Version 2 pages hold runs and differences; with zstd a value takes 1 to 3 bytes, a third of
# version 1. Every reader of the last ten years knows both.
_OPTIONS = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, USE_TMP_FILE false"

# Merging sorts; what does not fit is spilled beside the files. With half of it DuckDB refuses a
# merge of three million rows; twice as much makes none faster.
_MEMORY = "128MB"
SPILL = ".spill"


def write(arrays: Arrays, path: Path) -> Content:
    """Write `arrays` in their order; the file is not yet on the disk when this returns."""
    with connect(path.parent / SPILL) as db:
        logical.register(db, "new", arrays)
        copy(db, logical.select("new"), path)
    times = arrays.rows["measured_ms"][arrays.rows["time_quality"] != UNDATED]
    least, most = (int(times.min()), int(times.max())) if len(times) else (None, None)
    return Content(arrays.length, path.stat().st_size, least, most, arrays.length - len(times))


def merge(sources: Sequence[Path], path: Path) -> int:
    """Write the rows of several files into one, sorted anew; returns how many."""
    order = 'device, channel, measured_at, stream, seq, "row"'
    with connect(path.parent / SPILL) as db:
        return copy(db, f"{read(sources)} ORDER BY {order}", path)


def read(paths: Sequence[Path]) -> str:
    """A query over files, whatever characters the names of their folders hold."""
    listed = ", ".join(literal(Path(glob.escape(str(path)))) for path in paths)
    return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false)"


def copy(db: "duckdb.DuckDBPyConnection", query: str, path: Path) -> int:
    """Write the result of a query; returns the number of rows."""
    (rows,) = db.execute(f"COPY (\n{query}\n) TO {literal(path)} ({_OPTIONS})").fetchall()[0]
    return int(rows)


def connect(spill: Path, threads: int = 1, memory: str = _MEMORY) -> "duckdb.DuckDBPyConnection":
    """DuckDB in memory, bounded; sorts that do not fit go to files in the folder `spill`."""
    import duckdb

    db = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory,
            "threads": str(threads),
            "temp_directory": str(spill),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )
    db.execute("SET TimeZone = 'UTC'")
    return db


def literal(path: Path) -> str:
    """A path as a string in SQL."""
    return "'" + str(path).replace("'", "''") + "'"
