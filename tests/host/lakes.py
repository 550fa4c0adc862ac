"""The lake of a test's river: run its writer, here or as a process, and look at its files."""

import subprocess
import sys
from pathlib import Path

import duckdb
from meuse.lake import files, parquet, process
from meuse.lake.policy import Policy

from tests.host.rivers import River

WRITER = Path(__file__).with_name("lake_process.py")


def start(river: River, file_records: int, *fatal: str) -> subprocess.Popen[bytes]:
    """A real writer process; `fatal`: the step (and the how-manieth) at which it kills itself."""
    arguments = [str(river.journal.data), str(river.now_ms), str(file_records), *fatal]
    return subprocess.Popen([sys.executable, str(WRITER), *arguments], stdout=subprocess.DEVNULL)


def run_here(river: River) -> process.Done:
    """A run of the writer in this process, until nothing is left."""
    return process.run(river.journal.data, Policy(), lambda: river.now_ms, everything=True)


def lake(river: River) -> Path:
    """The lake's folder."""
    return river.journal.data / files.FOLDER


def assert_files_are_whole(river: River) -> None:
    """After a run that ended by itself the folder holds exactly the files that count."""
    db = river.journal.writer._db
    named = db.execute("SELECT name, state, rows, bytes FROM lake_files").fetchall()
    assert {state for _, state, _, _ in named} <= {"done"}
    assert sorted(name for name, *_ in named) == sorted(
        path.name for path in lake(river).iterdir() if not path.name.startswith(".")
    )
    for name, _, rows, size in named:
        path = lake(river) / name
        assert path.stat().st_size == size
        (count,) = duckdb.connect().execute(f"SELECT count(*) FROM ({parquet.read([path])})").fetchone() or (0,)
        assert count == rows


def lake_made(river: River) -> Path:
    """The lake's folder, there before the first file is."""
    return files.make_folder(river.journal.data)
