"""docs/storage.md cannot lie: its commands are run, its tables are held against the code."""

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from meuse import dating, decode, logical
from meuse.lake import policy, process
from meuse.lake.policy import Policy
from meuse_protocol import quality
from meuse_protocol.schema import Schema

from tests.host.journals import NOON_MS, Journal, schema_record, single_record


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest) -> str:
    return (request.config.rootpath / "docs/storage.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ as a host leaves it, partly in the lake."""
    top = tmp_path_factory.mktemp("page")
    journal = Journal(top / "data")
    journal.store(schema_record(1, Schema(1, "stove", 1_000, [("flue_temp", "Cel", -1, 0)])))
    for seq in range(2, 30):
        journal.store(single_record(seq, 1, NOON_MS // 1_000 + seq, [200 + seq]))
        if seq == 20:
            process.run(top / "data", Policy(), lambda: NOON_MS, everything=True)
    journal.close()
    return top


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def first_cells(page: str, header: str) -> list[str]:
    """The first column of the table that begins with `header`."""
    head = re.compile(rf"^\| {re.escape(header)} \|.*\n\|---", re.MULTILINE)
    table = head.split(page, 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def test_every_command_does_what_it_says(page: str, folder: Path) -> None:
    assert len(commands(page)) > 10
    for line in commands(page):
        program, *arguments = shlex.split(line)
        assert program == "meuse"
        done = subprocess.run(
            [sys.executable, "-m", "meuse", *arguments], cwd=folder, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr.decode()}"
        assert done.stdout, line
    assert {path.name for path in folder.iterdir()} == {"data", "november.csv", "stove.xlsx", "hours.parquet"}


def test_the_example_in_python_runs(page: str, folder: Path) -> None:
    (example,) = blocks(page, "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=folder, capture_output=True, timeout=60, check=True)
    assert b"flue_temp" in done.stdout


def test_the_table_is_the_one_that_is_written(page: str) -> None:
    assert first_cells(page, "column") == list(logical.COLUMNS)


def test_the_words_are_those_of_the_code(page: str) -> None:
    assert first_cells(page, "`time_quality`") == list(dating.TIME_QUALITIES)
    known = {code for name, code in vars(quality).items() if name.isupper() and isinstance(code, int)}
    known |= {decode.GOOD, decode.MISSING, decode.NOT_FINITE, decode.UNKNOWN_SCHEMA, decode.UNDECODABLE, decode.RAW}
    assert sorted(first_cells(page, "`quality`")) == sorted(decode.QUALITIES[code] for code in known)


def test_the_numbers_are_those_of_the_code(page: str) -> None:
    words = " ".join(page.split())
    rules = Policy()
    assert f"when {rules.due_records:,} records or {rules.due_bytes // 1024} kB are waiting" in words
    assert rules.due_age_ms == 5 * 60_000 and "has waited five minutes" in words
    assert f"at {rules.file_values:,} rows" in words
    small, large = policy.MERGE_BELOW_ROWS
    assert f"below {small:,} rows become one, and so do eight below {large:,};" in words
    assert policy.MERGE_FILES == 8
    assert rules.parked_ms == 7 * 86_400_000


def test_the_tables_named_are_there(page: str, folder: Path) -> None:
    db = sqlite3.connect(folder / "data/journal.sqlite")
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    assert set(re.findall(r"table `(\w+)`", page)) <= tables
