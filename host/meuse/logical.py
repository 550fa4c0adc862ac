"""The logical table: its columns, their types and meaning, and how DuckDB sees arrays as it.

The same table everywhere: in the lake's files, in queries, in exports. One row is one channel's
value at one moment; (stream, seq, row, channel) names it once for ever.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from meuse import dating, decode
from meuse.readings import NONE, UNDATED_MS, Arrays

if TYPE_CHECKING:
    import duckdb

# column: (DuckDB type, meaning). The order is part of the promise; the first is the device.
COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "device": ("VARCHAR", "device id; empty where the stream was never bound"),
    "channel": ("VARCHAR", "channel name; null for a record that could not be read"),
    "unit": ("VARCHAR", "SenML unit (RFC 8428), e.g. Cel, %RH, m3; empty: no unit"),
    "measured_at": ("TIMESTAMPTZ", "when it was measured, UTC, milliseconds; null while undated"),
    "time_quality": ("VARCHAR", "how measured_at is known: " + ", ".join(dating.TIME_QUALITIES)),
    "value": ("DOUBLE", "the exact decimal number rounded once to a double; null where missing"),
    "text": ("VARCHAR", "a value that is no number; bytes, and unreadable records, in hexadecimal"),
    "quality": ("VARCHAR", "good, or why there is no value"),
    "received_at": ("TIMESTAMPTZ", "when the host stored the record, UTC, milliseconds"),
    "stream": ("BIGINT", "stream id of the board's log"),
    "seq": ("BIGINT", "number of the record in its stream, from 1"),
    "row": ("INTEGER", "row within the record, from 0"),
    "boot": ("BIGINT", "boot number, where the board had no clock; else null"),
    "uptime_ms": ("BIGINT", "milliseconds since that boot, where the board had no clock"),
    "tenant": ("VARCHAR", "tenant of the device when the row was written"),
    "site": ("VARCHAR", "site of the device when the row was written"),
    "schema_id": ("INTEGER", "schema id within the stream"),
}


def select(prefix: str) -> str:
    """The table over the arrays registered under `prefix`; keeps their order on one thread."""
    sources = {
        "device": "s.device",
        "channel": "nullif(s.channel, '')",
        "unit": "CASE WHEN s.channel = '' THEN NULL ELSE s.unit END",
        "measured_at": f"make_timestamptz(nullif(r.measured_ms, {UNDATED_MS}) * 1000)",
        "time_quality": "t.name",
        "value": "CASE WHEN r.absent THEN NULL ELSE r.value END",
        "text": "x.name",
        "quality": "q.name",
        "received_at": "make_timestamptz(r.received_ms * 1000)",
        "boot": f"nullif(r.boot, {NONE})",
        "uptime_ms": f"nullif(r.uptime_ms, {NONE})",
        "stream": "s.stream",
        "seq": "r.seq",
        "row": 'r."row"',
        "tenant": "s.tenant",
        "site": "s.site",
        "schema_id": f"nullif(s.schema_id, {NONE})",
    }
    # Every type is said: a column without any value would else have none, also in its file.
    shown = ", ".join(f'{sources[name]}::{kind} AS "{name}"' for name, (kind, _) in COLUMNS.items())
    return f"""
        SELECT {shown}
        FROM {prefix}_rows r
        LEFT JOIN {prefix}_series s ON s.id = r.series
        LEFT JOIN {prefix}_time_quality t ON t.id = r.time_quality
        LEFT JOIN {prefix}_quality q ON q.id = r.quality
        LEFT JOIN {prefix}_text x ON x.id = r.text"""


def register(db: "duckdb.DuckDBPyConnection", prefix: str, arrays: Arrays) -> None:
    """Make `arrays` known to DuckDB, for `select(prefix)`; nothing is copied."""
    series = arrays.series
    db.register(f"{prefix}_rows", arrays.rows)
    db.register(
        f"{prefix}_series",
        {
            "id": np.arange(len(series), dtype=np.int32),
            "device": _strings([one.device for one in series]),
            "channel": _strings([one.channel for one in series]),
            "unit": _strings([one.unit for one in series]),
            "stream": np.array([one.stream for one in series], np.int64),
            "schema_id": np.array([one.schema_id for one in series], np.int32),
            "tenant": _strings([one.tenant for one in series]),
            "site": _strings([one.site for one in series]),
        },
    )
    _names(db, f"{prefix}_time_quality", dating.TIME_QUALITIES, np.uint8)
    _names(db, f"{prefix}_quality", decode.QUALITIES, np.uint8)
    _names(db, f"{prefix}_text", tuple(arrays.texts), np.int32)


def _names(
    db: "duckdb.DuckDBPyConnection",
    table: str,
    names: tuple[str | None, ...],
    kind: type[np.generic],
) -> None:
    ids = np.arange(len(names)).astype(kind)
    db.register(table, {"id": ids, "name": _strings(names)})


def _strings(values: Sequence[str | None]) -> npt.NDArray[np.object_]:
    strings = np.empty(len(values), dtype=object)
    strings[:] = values
    return strings
