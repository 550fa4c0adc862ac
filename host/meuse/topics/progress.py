"""How far publishing has come, durable: owns the tables `topics_progress`, `topics_retained` and the cursor `topics`.

Two lanes read the journal. `live` passes every record once, in order, and publishes what is young; what is old it only
notes in `late`, which the other lane empties while the first has nothing to do. `waiting` are records that nobody can
read or date yet. Everything is written together, so that no crash separates them.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

from meuse_protocol.received import RangeSet

from meuse import catalog

CURSOR: Final = "topics"

# 8 bytes each are written with every step of progress.
MAX_RANGES: Final = 10_000


class Progress(NamedTuple):
    """Ids of records; `event` and `gap` are positions in their tables.

    `shelved`: the newest values that stand in `topics_retained` know all records up to this one.
    """

    live: int
    late: RangeSet
    waiting: RangeSet
    event: int
    gap: int
    shelved: int

    @property
    def safe(self) -> int:
        """No reader needs a record up to this one again."""
        firsts = [ranges.ranges()[0][0] - 1 for ranges in (self.late, self.waiting) if ranges.last()]
        return min([self.live, *firsts])


def clipped(ids: RangeSet, first: int, most: int) -> list[tuple[int, int]]:
    """The ranges from `first` on, within `most` numbers from the first that is there."""
    found: list[tuple[int, int]] = []
    for begin, end in ids.ranges():
        begin = max(begin, first)
        if begin > end:
            continue
        if found and begin >= found[0][0] + most:
            break
        limit = (found[0][0] if found else begin) + most - 1
        found.append((begin, min(end, limit)))
    return found


def bound(ids: RangeSet) -> None:
    """Keep it small: what lies between is published twice rather than that memory grows."""
    ranges = ids.ranges()
    if len(ranges) > MAX_RANGES:
        ids.add_range(ranges[0][0], ranges[-1][1])


def load(db: sqlite3.Connection) -> Progress:
    """As it was written last; at first, everything that the journal still has is to be published."""
    kept = dict(db.execute("SELECT key, value FROM topics_progress"))
    return Progress(
        kept.get("live", 0),
        RangeSet.from_bytes(kept.get("late", b"")),
        RangeSet.from_bytes(kept.get("waiting", b"")),
        kept.get("event", 0),
        kept.get("gap", 0),
        kept.get("shelved", 0),
    )


def retained(db: sqlite3.Connection) -> dict[str, bytes]:
    """topic -> the message that stands there."""
    return dict(db.execute("SELECT topic, payload FROM topics_retained"))


def save(db: sqlite3.Connection, now: Progress, retained: Iterable[tuple[str, bytes | None]], at_ms: int) -> None:
    """Part of the caller's transaction. `retained`: what changed; None: no message stands there any more."""
    kept = now._asdict() | {"late": now.late.to_bytes(), "waiting": now.waiting.to_bytes()}
    db.executemany("INSERT OR REPLACE INTO topics_progress VALUES(?, ?)", kept.items())
    for topic, payload in retained:
        if payload is None:
            db.execute("DELETE FROM topics_retained WHERE topic = ?", (topic,))
        else:
            db.execute("INSERT OR REPLACE INTO topics_retained VALUES(?, ?)", (topic, payload))
    catalog.move_cursor(db, CURSOR, now.safe, at_ms)


def forget(db: sqlite3.Connection) -> None:
    """Nothing is published any more: the journal waits for nobody. Later all that is left begins anew."""
    for work in (
        "DELETE FROM topics_progress",
        "DELETE FROM topics_retained",
        f"DELETE FROM cursors WHERE reader = '{CURSOR}'",
    ):
        db.execute(work)
