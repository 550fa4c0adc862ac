"""What can be wrong with what is stored: journal, readers, lake, and what the host counted. Reads only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meuse.clock import Clock
from meuse.errors import HostError
from meuse.findings import Finding, fail, note, ok
from meuse.journal.database import FILE_NAME
from meuse.journal.place import Place
from meuse.journal.sql import Database
from meuse.journal.writer import newest_id
from meuse.lake import files
from meuse.query import follow

# Troubles older than this are history, not a diagnosis.
RECENT_MS: Final = 86_400_000

FAILED: Final = ("journal-failed", "lake-failed", "store-failed", "cluster-failed")
TROUBLE_KINDS: Final = (*FAILED, "conflict", "reader-behind", "flood")

# Of many that are wrong the first say where to look.
SHOWN_FILES: Final = 5

COUNTERS: Final = {
    "times_full": "the disk was slower than the boards; they waited",
    "events_dropped": "events that could not be kept",
    "console_dropped": "lines of console text that could not be kept",
    "link.damaged": "frames damaged on the way",
    "link.bad_mac": "packets whose key does not fit",
    "link.unknown_device": "HELLOs of devices without a key under data/keys",
    "link.untrusted": "packets without a key on links that need one",
    "link.strangers": "connections that never said who they are",
    "link.tcp_refused": "connections closed at once, beyond tcp.max_connections",
    "link.tls_refused": "connections closed at once, beyond tls.max_connections",
    "link.udp_peers_refused": "datagrams of devices beyond udp.max_peers",
}


def check(place: Path | Place) -> Iterator[Finding]:
    """Everything about the journal and the lake; a folder: both are in it."""
    place = place if isinstance(place, Place) else Place(place)
    data = place.data
    try:
        db = place.open_reader()
    except HostError as error:
        yield fail("journal", error.message, error.advice)
        return
    try:
        if place.address is None:
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                yield fail("journal", sound, f"keep a copy of {data / FILE_NAME}, then start with another --data")
                return
        newest = newest_id(db) if place.address is None else follow.newest(db)
        yield ok("journal", f"sound, {newest} records so far")
        yield from _readers(db, newest)
        yield from _lake(db, data / files.FOLDER)
        yield from _counters(db)
        yield from _troubles(db)
    except place.errors as error:
        yield fail("journal", str(error), "check the disk; keep a copy before anything else")
    finally:
        db.close()


def _readers(db: Database, newest: int) -> Iterator[Finding]:
    now_ms = Clock().utc_ms()
    for reader, position in db.execute("SELECT reader, position FROM cursors ORDER BY reader"):
        row = db.execute("SELECT received_ms FROM records WHERE id > ? ORDER BY id LIMIT 1", (position,)).fetchone()
        lag_ms = now_ms - row[0] if row else 0
        state = f"{newest - position} records behind"
        if lag_ms > RECENT_MS:
            days = lag_ms // RECENT_MS
            advice = "start the host, and look at its log"
            yield fail(f"reader {reader}", f"{state}, {days} days", advice)
        else:
            yield ok(f"reader {reader}", state)
    (parked,) = db.execute("SELECT count(*) FROM parked").fetchone()
    if parked:
        yield note("parked", f"{parked} records wait for a schema or a clock")


def _troubles(db: Database) -> Iterator[Finding]:
    marks = ", ".join("?" * len(TROUBLE_KINDS))
    rows = db.execute(
        "SELECT kind, number, detail FROM events JOIN (SELECT count(*) AS number, max(id) AS id FROM events"
        f" WHERE at_ms > ? AND kind IN ({marks}) GROUP BY kind) AS last USING (id) ORDER BY id",
        (Clock().utc_ms() - RECENT_MS, *TROUBLE_KINDS),
    )
    for kind, count, detail in rows:
        yield note(kind, f"{count} times in the last day, last: {detail}")


def _lake(db: Database, folder: Path) -> Iterator[Finding]:
    known = files.done(db)
    wrong = {file.name: damage for file in known if (damage := files.damage(folder, file))}
    advice = f"put it back into {folder} from a copy; its readings are nowhere else once purged"
    for name, damage in list(wrong.items())[:SHOWN_FILES]:
        yield fail("lake", f"{name} is {damage}", advice)
    if wrong:
        yield note("lake", f"{len(wrong)} of {len(known)} files are missing or damaged")
    else:
        yield ok("lake", f"{len(known)} files, {sum(file.rows for file in known):,} rows")


def _counters(db: Database) -> Iterator[Finding]:
    told: dict[str, object] = {}
    for key, value in db.execute("SELECT key, value FROM host_status").fetchall():
        _, _, name = key.rpartition("/")  # of several hosts each has its own
        now, before = number(value), told.get(name)
        told[name] = now + before if isinstance(now, int) and isinstance(before, int) else now or before
    if told.get("failing"):
        yield fail("host", f"the journal fails: {told['failing']}", "see `data` and `disk` above")
    for name, meaning in COUNTERS.items():
        if told.get(name):
            yield note(name, f"{told[name]} since the host was started: {meaning}")


def number(value: object) -> object:
    """What `host_status` says, a number where it is one."""
    return int(str(value)) if str(value).isdigit() else value
