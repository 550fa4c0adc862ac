"""Results of a query as a file: whole under its name, or not there at all."""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meuse.errors import ConfigError, HostError
from meuse.lake import parquet
from meuse.query import output

if TYPE_CHECKING:
    import duckdb

# What a sheet of XLSX holds, header included (ECMA-376 leaves it to Excel: 2^20).
_SHEET_ROWS: Final = 1_048_576


def export(db: "duckdb.DuckDBPyConnection", sql: str, path: Path, form: str) -> int:
    """Write the result of `sql` to `path`; returns the number of rows.

    form: csv, jsonl, parquet or xlsx. A file that is there is replaced only when the new one is
    complete. Raises HostError when the folder or the disk does not take it.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        rows = _WRITERS[form](db, sql, unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}", "name another file") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def form_of(path: Path, asked: str | None) -> str:
    """The format asked for, or the one that the file's name says; raises ConfigError."""
    form = asked or path.suffix.lstrip(".").lower()
    form = {"json": "jsonl", "ndjson": "jsonl"}.get(form, form)
    if form not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise ConfigError(f"{path}: no format {form!r}", f"end the name in .csv, .jsonl ... or say --format: {known}")
    return form


def _text(form: str) -> Callable[["duckdb.DuckDBPyConnection", str, Path], int]:
    def write(db: "duckdb.DuckDBPyConnection", sql: str, path: Path) -> int:
        with path.open("w", encoding="utf-8", newline="") as out:
            return output.write(db, sql, form, out)

    return write


def _parquet(db: "duckdb.DuckDBPyConnection", sql: str, path: Path) -> int:
    import duckdb

    try:
        return parquet.copy(db, sql, path)
    except duckdb.IOException as error:
        raise HostError(f"cannot write {path.parent}: {error}", "name another file") from error


def _xlsx(db: "duckdb.DuckDBPyConnection", sql: str, path: Path) -> int:
    """One sheet per 1,048,575 rows; times are dates of Excel, UTC, since it knows no zones."""
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    times = [output.is_time(kind) for _, kind, *_ in db.execute(f"DESCRIBE {sql}").fetchall()]
    book = xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
    count = 0
    sheet: Any = None
    result = output.Result(db, sql)
    for count, row in enumerate(result, start=1):
        line = (count - 1) % (_SHEET_ROWS - 1) + 1
        if line == 1:
            sheet = _sheet(book, result.columns)
        _cells(sheet, line, row, times, moment)
    if not count:
        _sheet(book, result.columns)
    try:
        book.close()
    except FileCreateError as error:  # it hides the OSError in its arguments
        raise OSError(*error.args[0].args) from error
    return count


def _sheet(book: Any, columns: list[str]) -> Any:
    number = len(book.worksheets()) + 1
    sheet = book.add_worksheet("readings" if number == 1 else f"readings {number}")
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, len(columns) - 1, 14)
    sheet.write_row(0, 0, columns)
    return sheet


def _cells(sheet: Any, line: int, row: output.Row, times: list[bool], moment: Any) -> None:
    for at, value in enumerate(row):
        if value is None:
            continue
        if times[at]:
            when = datetime.fromisoformat(value).replace(tzinfo=None)
            # Excel's calendar begins in 1900; what is earlier stays text.
            if when.year >= 1900:
                sheet.write_datetime(line, at, when, moment)
                continue
        if not isinstance(value, int | float | Decimal):
            sheet.write_string(line, at, str(value))
        elif math.isfinite(value):
            sheet.write_number(line, at, value)


_WRITERS: Final[dict[str, Callable[["duckdb.DuckDBPyConnection", str, Path], int]]] = {
    "csv": _text("csv"),
    "jsonl": _text("jsonl"),
    "parquet": _parquet,
    "xlsx": _xlsx,
}
FORMATS: Final = tuple(_WRITERS)
