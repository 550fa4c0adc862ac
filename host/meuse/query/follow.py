"""Readings as they become durable: decoded straight from the journal, without DuckDB."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from meuse import catalog, dating, decode
from meuse.catalog import Facts
from meuse.decode import Stored
from meuse.journal.sql import Database
from meuse.query.selection import Selection
from meuse.readings import NONE, Arrays, Readings

# Records decoded at once; more that came in the meantime follow in the next round.
_ROUND_RECORDS: Final = 500


class Follower:
    """Reads on from `position` (a record's id); each call of `rows` gives what has come since."""

    def __init__(self, db: Database, selection: Selection, position: int) -> None:
        self._db = db
        self._selection = selection
        self._facts: Facts = catalog.load(db)
        self.position = position

    def rows(self) -> Iterator[dict[str, Any]]:
        """New rows, record by record in the order of their arrival, as dicts of JSON values."""
        while True:
            found = self._db.execute(
                "SELECT id, stream, seq, type, received_ms, record FROM records WHERE id > ? ORDER BY id LIMIT ?",
                (self.position, _ROUND_RECORDS),
            ).fetchall()
            if not found:
                return
            self._learn(found)
            for row in found:
                yield from self._record(Stored(*row))
            self.position = found[-1][0]

    def _learn(self, found: list[tuple[Any, ...]]) -> None:
        """Streams that are new, and the facts among the new records."""
        if any(row[1] not in self._facts.origins for row in found):
            self._facts = catalog.load(self._db)
        catalog.update(self._facts, self._db, self.position)

    def _record(self, stored: Stored) -> Iterator[dict[str, Any]]:
        if not self._selection.wants_device(self._facts.origin(stored.stream).device):
            return
        block = decode.decode(stored, self._facts)
        block = block and self._selection.narrowed(block)
        if block is None:
            return
        readings = Readings(self._facts)
        readings.add(block)
        yield from dicts(readings.arrays())


def newest(db: Database) -> int:
    """Id of the newest durable record."""
    (found,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
    return int(found)


def dicts(arrays: Arrays) -> Iterator[dict[str, Any]]:
    """Rows of arrays as dicts with the names of the logical table."""
    columns = {name: column.tolist() for name, column in arrays.rows.items()}
    for at in range(arrays.length):
        row = {name: column[at] for name, column in columns.items()}
        series = arrays.series[row["series"]]
        dated = row["time_quality"] != dating.UNDATED
        yield {
            "device": series.device,
            "channel": series.channel or None,
            "unit": series.unit if series.channel else None,
            "measured_at": moment(row["measured_ms"]) if dated else None,
            "time_quality": dating.TIME_QUALITIES[row["time_quality"]],
            "value": None if row["absent"] else row["value"],
            "text": arrays.texts[row["text"]],
            "quality": decode.QUALITIES[row["quality"]],
            "received_at": moment(row["received_ms"]),
            "stream": series.stream,
            "seq": row["seq"],
            "row": row["row"],
            "boot": _or_none(row["boot"]),
            "uptime_ms": _or_none(row["uptime_ms"]),
            "tenant": series.tenant,
            "site": series.site,
            "schema_id": _or_none(series.schema_id),
        }


def moment(ms: int) -> str:
    """ISO 8601, UTC, milliseconds."""
    when = datetime.fromtimestamp(ms // 1_000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03}Z"


def _or_none(number: int) -> int | None:
    return None if number == NONE else number
