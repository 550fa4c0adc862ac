"""Small tables for SQL, made of Python rows: what is not the table of readings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import duckdb

# Column -> TEXT, INTEGER, or TIME: milliseconds since 1970, shown as a time stamp.
Columns = dict[str, str]
TEXT, INTEGER, TIME = "text", "integer", "time"


def view(db: "duckdb.DuckDBPyConnection", name: str, columns: Columns, rows: Sequence[Sequence[object]]) -> None:
    """Make a view `name` over `rows`, whose order it keeps; None is NULL."""
    arrays = {}
    shown = []
    for at, (column, kind) in enumerate(columns.items()):
        values = [row[at] for row in rows]
        if kind == TEXT:
            strings = np.empty(len(values), dtype=object)
            strings[:] = values
            arrays[column] = strings
            shown.append(f'"{column}"::VARCHAR AS "{column}"')
            continue
        numbers = np.array([0 if value is None else value for value in values], np.int64)
        missing = np.array([value is None for value in values], np.bool_)
        arrays[column] = np.ma.masked_array(numbers, mask=missing)
        plain = f'"{column}"' if kind == INTEGER else f'make_timestamptz("{column}" * 1000)'
        shown.append(f'{plain} AS "{column}"')
    db.register(f"{name}_rows", arrays)
    db.execute(f"CREATE VIEW {name} AS SELECT {', '.join(shown)} FROM {name}_rows")
