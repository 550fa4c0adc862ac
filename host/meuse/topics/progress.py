"""How far publishing has come, durable: owns the tables `topics_progress`, `topics_retained` and the cursor `topics`.

Two lanes read the journal. `live` passes every record once, in order, and publishes what is young; what is old it only
notes in `late`, which the other lane empties while the first has nothing to do. `waiting` are records that nobody can
read or date yet. Everything is written together, so that no crash separates them.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meuse_protocol.received import RangeSet

from meuse import catalog
from meuse.journal.sql import Database

CURSOR: Final = "topics"

# How far topics/commands.py has come.
STATES: Final = "command"

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


def load(db: Database) -> Progress:
    """As it was written last; at first, everything that the journal still has is to be published."""
    kept = dict(db.execute("SELECT key, value FROM topics_progress"))
    number = {key: int(kept.get(key, 0)) for key in ("live", "event", "gap", "shelved")}
    return Progress(
        number["live"],
        RangeSet.from_bytes(kept.get("late", b"")),
        RangeSet.from_bytes(kept.get("waiting", b"")),
        number["event"],
        number["gap"],
        number["shelved"],
    )


def retained(db: Database) -> dict[str, bytes]:
    """topic -> the message that stands there."""
    return dict(db.execute("SELECT topic, payload FROM topics_retained"))


def save(db: Database, now: Progress, retained: Iterable[tuple[str, bytes | None]], at_ms: int) -> None:
    """Part of the caller's transaction. `retained`: what changed; None: no message stands there any more."""
    kept = {key: b"%d" % value for key, value in now._asdict().items() if isinstance(value, int)}
    kept |= {"late": now.late.to_bytes(), "waiting": now.waiting.to_bytes()}
    db.executemany(
        "INSERT INTO topics_progress VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", kept.items()
    )
    for topic, payload in retained:
        if payload is None:
            db.execute("DELETE FROM topics_retained WHERE topic = ?", (topic,))
        else:
            db.execute(
                "INSERT INTO topics_retained VALUES(?, ?) ON CONFLICT(topic) DO UPDATE SET payload = excluded.payload",
                (topic, payload),
            )
    catalog.move_cursor(db, CURSOR, now.safe, at_ms)


def load_states(db: Database) -> int | None:
    """The last state of a command that was published; None: none ever was."""
    row = db.execute("SELECT value FROM topics_progress WHERE key = ?", (STATES,)).fetchone()
    return None if row is None else int(row[0])


def save_states(db: Database, done: int) -> None:
    """Part of the caller's transaction."""
    db.execute(
        "INSERT INTO topics_progress VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        (STATES, b"%d" % done),
    )


def forget(db: Database) -> None:
    """Nothing is published any more: the journal waits for nobody. Later all that is left begins anew."""
    for work in (
        "DELETE FROM topics_progress",
        "DELETE FROM topics_retained",
        f"DELETE FROM cursors WHERE reader = '{CURSOR}'",
    ):
        db.execute(work)
