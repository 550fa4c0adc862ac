"""How far publishing has come, durable: owns the tables `topics_progress`, `topics_retained`, `topics_left`
and the cursor `topics`.

Two lanes read the journal. `live` passes every record once, in order, and publishes what is young; what is old it only
notes in `late`, which the other lane empties while the first has nothing to do. `waiting` are records that nobody can
read or date yet. Everything is written together, so that no crash separates them.

Where a group of workers publishes (workers.py), readings of the records after `handed` are its business, but for those
that it leaves to the host: they come by the table `topics_left`, and are in `left` as long as they are in `late`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meuse_protocol.received import RangeSet

from meuse import catalog
from meuse.cluster.distributor import CURSOR as DISTRIBUTED
from meuse.cluster.distributor import PUBLISHED
from meuse.errors import JournalError
from meuse.journal.sql import Database

CURSOR: Final = "topics"

# How far topics/commands.py has come.
STATES: Final = "command"

# 8 bytes each are written with every step of progress.
MAX_RANGES: Final = 10_000

# For `handed`: the host publishes all of them.
NEVER: Final = 1 << 62


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
    left: RangeSet
    handed: int

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


def bound(ids: RangeSet) -> RangeSet:
    """The same, kept small: what lies between is published twice rather than that memory grows."""
    ranges = ids.ranges()
    if len(ranges) > MAX_RANGES:
        ids.add_range(ranges[0][0], ranges[-1][1])
    return ids


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
        RangeSet.from_bytes(kept.get("left", b"")),
        int(kept.get("handed", NEVER)),
    )


def begin(db: Database, whose: bytes, by_workers: bool, at_ms: int) -> Progress:
    """Where a host takes up, under a name of its own; part of the caller's transaction.

    From a change on workers publish, or do so no more; nothing is between, some may be twice. Workers get every record
    that was not distributed before they had their consumers, so all that are there now stay with the host. Back again,
    and where records were distributed to others only, it begins behind what they are known to be done with.
    """
    _put(db, {"whose": whose})
    at = load(db)
    if at.handed != NEVER:
        published = max(at.handed, catalog.position(db, PUBLISHED))
        passed_by = published < catalog.position(db, DISTRIBUTED)
        if passed_by or not by_workers:
            at = at._replace(live=min(at.live, published), handed=NEVER)
    if by_workers and at.handed == NEVER:
        (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
        at = at._replace(handed=max(at.live, newest))
        catalog.move_cursor(db, PUBLISHED, at.handed, at_ms)
    _put(db, {"live": b"%d" % at.live, "handed": b"%d" % at.handed})
    catalog.move_cursor(db, CURSOR, at.safe, at_ms)  # which may be before where it stood
    if not by_workers:
        catalog.forget_cursor(db, PUBLISHED)  # from here on `live` says it
    return at


def retained(db: Database) -> dict[str, bytes]:
    """topic -> the message that stands there."""
    return dict(db.execute("SELECT topic, payload FROM topics_retained"))


def handed(db: Database) -> tuple[int, bool]:
    """-> workers publish readings of the records after this one (NEVER: of none); whether the host has come so far."""
    kept = dict(db.execute("SELECT key, value FROM topics_progress WHERE key IN ('handed', 'live')"))
    number = int(kept.get("handed", NEVER))
    return number, int(kept.get("live", 0)) >= number


def leave(db: Database, ids: RangeSet) -> None:
    """A worker does not publish these. Part of the caller's transaction."""
    db.execute("INSERT INTO topics_left(first_id, ids) VALUES(?, ?)", (ids.ranges()[0][0], ids.to_bytes()))


def left(db: Database) -> dict[int, RangeSet]:
    """What workers have left that no progress holds yet, by the number under which `save` takes it over."""
    return {number: RangeSet.from_bytes(ids) for number, ids in db.execute("SELECT id, ids FROM topics_left")}


def save(
    db: Database,
    whose: bytes,
    now: Progress,
    retained: Iterable[tuple[str, bytes | None]],
    taken_over: Iterable[int],
    at_ms: int,
) -> None:
    """Part of the caller's transaction. `retained`: what changed; None: no message stands there any more.

    Raises JournalError once another host has begun: what this one took over would be in no progress that counts.
    """
    _hold(db, whose)
    kept = {key: b"%d" % value for key, value in now._asdict().items() if isinstance(value, int)}
    kept |= {"late": now.late.to_bytes(), "waiting": now.waiting.to_bytes(), "left": now.left.to_bytes()}
    _put(db, kept)
    for number in taken_over:  # one by one: another may have come between, and become visible only now
        db.execute("DELETE FROM topics_left WHERE id = ?", (number,))
    _keep(db, retained)
    catalog.move_cursor(db, CURSOR, now.safe, at_ms)


def keep(db: Database, whose: bytes, retained: Iterable[tuple[str, bytes | None]]) -> None:
    """Part of the caller's transaction: what is to stand there; raises JournalError as `save` does."""
    _hold(db, whose)
    _keep(db, retained)


def _hold(db: Database, whose: bytes) -> None:
    """No other host begins before this transaction ends."""
    ours = "UPDATE topics_progress SET value = value WHERE key = 'whose' AND value = ?"
    if db.execute(ours, (whose,)).rowcount != 1:
        raise JournalError("another host publishes topics")


def _keep(db: Database, retained: Iterable[tuple[str, bytes | None]]) -> None:
    for topic, payload in retained:
        if payload is None:
            db.execute("DELETE FROM topics_retained WHERE topic = ?", (topic,))
        else:
            db.execute(
                "INSERT INTO topics_retained VALUES(?, ?) ON CONFLICT(topic) DO UPDATE SET payload = excluded.payload",
                (topic, payload),
            )


def _put(db: Database, kept: dict[str, bytes]) -> None:
    db.executemany(
        "INSERT INTO topics_progress VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", kept.items()
    )


def load_states(db: Database) -> int | None:
    """The last state of a command that was published; None: none ever was."""
    row = db.execute("SELECT value FROM topics_progress WHERE key = ?", (STATES,)).fetchone()
    return None if row is None else int(row[0])


def save_states(db: Database, done: int) -> None:
    """Part of the caller's transaction."""
    _put(db, {STATES: b"%d" % done})


def forget(db: Database) -> None:
    """Nothing is published any more: the journal waits for nobody. Later all that is left begins anew."""
    for work in (
        "DELETE FROM topics_progress",
        "DELETE FROM topics_retained",
        "DELETE FROM topics_left",
        f"DELETE FROM cursors WHERE reader = '{CURSOR}'",
    ):
        db.execute(work)
