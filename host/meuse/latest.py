"""The newest values of every channel and how many readings come, read from the journal for people.

A light reader without a cursor: it begins at the end, looks at the newest records once a second
and skips what it cannot keep up with. Never on the way of an acknowledgement.
"""

from typing import NamedTuple

import numpy as np

from meuse import catalog, decode, scale
from meuse.journal.sql import Database
from meuse.journal.threads import Journal

# Records looked at per round; more than 200 boards at one batch a second are only counted.
LOOK_RECORDS = 200

# Units on the wire are SenML names; a person expects these.
SHOWN_UNITS = {"Cel": "°C", "%RH": "% RH"}


class Value(NamedTuple):
    """One channel's newest value, ready to be shown."""

    channel: str
    text: str
    unit: str


class Latest:
    """`await look()` once a second; `values` and `rows` then hold what came."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._position = journal.last_id
        self._facts: catalog.Facts | None = None
        self.values: dict[str, dict[str, Value]] = {}
        self.rows: dict[str, int] = {}  # rows of readings seen since the start, per device

    async def look(self) -> None:
        """Take in what became durable since the last look; raises JournalError."""
        if self._journal.last_id > self._position or self._facts is None:
            await self._journal.read(self._look)

    def _look(self, db: Database) -> None:
        """On the journal's reading thread."""
        (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
        found = db.execute(
            "SELECT id, stream, seq, type, received_ms, record FROM records"
            " WHERE id > ? AND id <= ? AND type IN (1, 2) ORDER BY id DESC LIMIT ?",
            (self._position, newest, LOOK_RECORDS),
        ).fetchall()
        facts = self._facts
        if facts is None or any(row[1] not in facts.origins for row in found):
            facts = self._facts = catalog.load(db)
        else:
            catalog.update(facts, db, self._position)
        skipped = max(1.0, (newest - self._position) / LOOK_RECORDS)
        self._position = newest
        for row in reversed(found):
            self._take(decode.Stored(*row), facts, skipped)

    def _take(self, stored: decode.Stored, facts: catalog.Facts, weight: float) -> None:
        block = decode.decode(stored, facts)
        if block is None or block.quality != decode.GOOD:
            return
        device = facts.origin(stored.stream).device
        count = len(block.times_ms)
        self.rows[device] = self.rows.get(device, 0) + round(count * weight)
        shown = self.values.setdefault(device, {})
        newest = int(np.argmax(block.times_ms))
        for (channel, unit, exp10, _), column in zip(block.channels, block.columns, strict=True):
            element = column[newest]
            missing = element is None or isinstance(element, list)
            shown_unit = "" if missing else SHOWN_UNITS.get(unit, unit)
            shown[channel] = Value(channel, text_of(element, exp10), shown_unit)


def text_of(element: object, exp10: int) -> str:
    """A wire's element as people read it; a missing one is named, never a number."""
    if isinstance(element, bool) or element is None or isinstance(element, str):
        return "-" if element is None else str(element)
    if isinstance(element, list):
        return str(decode.QUALITIES[-element[0]])
    if isinstance(element, int):
        value: float = scale.scaled(element, exp10)
        return f"{value:.{max(0, -exp10)}f}"
    return f"{element:.6g}" if isinstance(element, float) else f"{element!r}"
