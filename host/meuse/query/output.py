"""Rows of a query as CSV, JSON lines or a table for people; streams, holds no result in memory.

Numbers come out as the shortest text that reads back as the same double; times as ISO 8601, UTC,
milliseconds. What is missing is empty (CSV), null (JSON) or blank (table), never a number.
"""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from meuse.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

FORMATS: Final = ("table", "csv", "jsonl")

# Rows fetched at once: a few hundred kilobytes.
_BATCH_ROWS: Final = 4_096
# A table's columns are as wide as these first rows need; wider cells that follow stick out.
_MEASURED_ROWS: Final = 1_000

_ISO: Final = "%Y-%m-%dT%H:%M:%S.%gZ"
_PEOPLE: Final = "%Y-%m-%d %H:%M:%S.%g"

Row = Sequence[Any]


class Result:
    """A query's columns and rows; time stamps come as text."""

    def __init__(self, db: "duckdb.DuckDBPyConnection", sql: str, time_format: str = _ISO) -> None:
        self._cursor = db.execute(as_text(db, sql, time_format))
        self.columns = [str(column[0]) for column in self._cursor.description or ()]

    def __iter__(self) -> Iterator[Row]:
        while rows := self._cursor.fetchmany(_BATCH_ROWS):
            yield from rows


def as_text(db: "duckdb.DuckDBPyConnection", sql: str, time_format: str) -> str:
    """The same query with its time stamps as text (DuckDB hands them out only through pytz)."""
    import duckdb

    try:
        described = db.execute(f"DESCRIBE {sql}").fetchall()
    except duckdb.ParserException:
        return sql  # a statement that is no query, such as SHOW TABLES
    if not any(is_time(kind) for _, kind, *_ in described):
        return sql
    shown = []
    for name, kind, *_ in described:
        quoted = '"' + str(name).replace('"', '""') + '"'
        zone = " AT TIME ZONE 'UTC'" if "TIME ZONE" in str(kind) else ""
        if is_time(kind):
            shown.append(f"strftime({quoted}{zone}, '{time_format}') AS {quoted}")
        else:
            shown.append(quoted)
    # The order is part of the result, so it is kept through the outer query.
    return f"SELECT {', '.join(shown)} FROM (\n{sql}\n)"


def is_time(kind: object) -> bool:
    """Whether a column of this type is moments, one a row."""
    return str(kind).startswith("TIMESTAMP") and not str(kind).endswith("]")


def one_statement(db: "duckdb.DuckDBPyConnection", sql: str) -> str:
    """Somebody's own SQL without its semicolon and what follows it; raises ConfigError for none or several."""
    found = len(db.extract_statements(sql))
    if found != 1:
        raise ConfigError(f"--sql takes one statement, not {found}", "ask once for each")
    at = sql.rfind(";")
    while at >= 0 and _counts(db, sql[:at]) == 1 and _counts(db, sql[at + 1 :]) == 0:
        sql, at = sql[:at], sql.rfind(";", 0, at)
    return sql


def _counts(db: "duckdb.DuckDBPyConnection", sql: str) -> int | None:
    """How many statements this is; None: none at all, as where a text or a comment was cut."""
    import duckdb

    try:
        return len(db.extract_statements(sql))
    except duckdb.Error:
        return None


def write(db: "duckdb.DuckDBPyConnection", sql: str, form: str, out: TextIO | None = None) -> int:
    """Write the result of `sql` to `out` (standard output); returns the number of rows."""
    out = out or sys.stdout
    if form == "table":
        return _table(Result(db, sql, _PEOPLE), out)
    result = Result(db, sql)
    return _csv(result, out) if form == "csv" else _jsonl(result, out)


def line_writer(form: str, out: TextIO) -> Callable[[dict[str, Any]], None]:
    """A function that writes one row (column -> value) at a time, for results without an end.

    In a table the columns have fixed widths, for a terminal of 100 characters.
    """
    begun = False

    def write_row(row: dict[str, Any]) -> None:
        nonlocal begun
        if form == "jsonl":
            out.write(_json(row) + "\n")
            return
        shown = row if form == "csv" else _glance(row)
        lines = [list(shown.values())] if begun else [list(shown), list(shown.values())]
        begun = True
        for line in lines:
            if form == "csv":
                csv.writer(out, lineterminator="\n").writerow(line)
            else:
                out.write(_line([_cell(value) for value in line], _TAIL_WIDTHS))

    return write_row


_TAIL_WIDTHS: Final = [16, 16, 24, 12, 8, 10, 12]


def _glance(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that fit a terminal, as ask.glance has them."""
    value = row["text"] if row["value"] is None else str(row["value"]).removesuffix(".0")
    names = ("device", "channel", "measured_at", "value", "unit", "quality", "time_quality")
    return {name: value if name == "value" else row[name] for name in names}


def _csv(result: Result, out: TextIO) -> int:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    count = 0
    for count, row in enumerate(result, start=1):  # noqa: B007 - the last one is the answer
        writer.writerow(row)
    return count


def _jsonl(result: Result, out: TextIO) -> int:
    count = 0
    for count, row in enumerate(result, start=1):  # noqa: B007
        said = dict(zip(result.columns, row, strict=True))
        out.write(_json(said) + "\n")
    return count


def _json(said: dict[str, Any]) -> str:
    """Strict JSON, which has no number for NaN and infinities: null."""
    try:
        return json.dumps(said, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(said), ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _table(result: Result, out: TextIO) -> int:
    rows = iter(result)
    first = [[_cell(value) for value in row] for row, _ in zip(rows, range(_MEASURED_ROWS))]  # noqa: B905
    widths = [max([len(name)] + [len(row[at]) for row in first]) for at, name in enumerate(result.columns)]
    out.write(_line(result.columns, widths))
    count = 0
    for row in first:
        out.write(_line(row, widths))
        count += 1
    for values in rows:
        out.write(_line([_cell(value) for value in values], widths))
        count += 1
    return count


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _line(cells: Sequence[str], widths: list[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip() + "\n"
