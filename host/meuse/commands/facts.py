"""What the journal says of commands and the boards they go to: streams, boots, uptimes, RESULT records. Reads only."""

from typing import Any, Final, NamedTuple

from meuse_protocol import messages
from meuse_protocol.errors import RemoteError

from meuse import catalog
from meuse.dating import Anchor
from meuse.journal.sql import Database

# RESULT records looked at in one round.
ROUND: Final = 1000


class Answer(NamedTuple):
    """A RESULT that is durable."""

    stream: int
    cid: int
    code: int
    value: Any
    received_ms: int


class Uptime(NamedTuple):
    """A board's own time: at `uptime_ms` of its newest boot it was `utc_ms`."""

    boot: int
    uptime_ms: int
    utc_ms: int

    def at(self, utc_ms: int) -> int:
        """The uptime at another moment of that boot."""
        return self.uptime_ms + utc_ms - self.utc_ms


def answers(db: Database, after_id: int) -> tuple[list[Answer], int]:
    """RESULT records after `after_id`, and the position up to which they were looked at."""
    (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
    rows = db.execute(
        "SELECT id, stream, received_ms, record FROM records WHERE id > ? AND id <= ? AND type = ? ORDER BY id LIMIT ?",
        (after_id, newest, messages.RESULT, ROUND),
    ).fetchall()
    found = []
    for _, stream, received_ms, record in rows:
        try:
            fields = messages.parse(messages.splice(record, 0)).fields
            messages.check(fields)
        except RemoteError:
            continue
        found.append(Answer(stream, fields[3], fields[4], fields[5], received_ms))
    return found, max(after_id, int(rows[-1][0] if len(rows) == ROUND else newest))


def stream_of(db: Database, device: str) -> int | None:
    """The device's stream in use."""
    row = db.execute(
        "SELECT stream FROM streams WHERE device = ? AND closed_ms IS NULL ORDER BY bound_ms DESC LIMIT 1", (device,)
    ).fetchone()
    return None if row is None else int(row[0])


def streams_of(db: Database, devices: set[str]) -> dict[str, int | None]:
    return {device: stream_of(db, device) for device in devices}


def uptime(db: Database, stream: int) -> Uptime | None:
    """Of the stream's newest boot; None while that has no anchor."""
    boots = {boot for (boot,) in db.execute("SELECT boot FROM boots WHERE stream = ?", (stream,))}
    anchors: dict[int, list[Anchor]] = {}
    for boot, *anchor in db.execute("SELECT boot, uptime_ms, utc_ms, err_ms FROM anchors WHERE stream = ?", (stream,)):
        anchors.setdefault(boot, []).append(Anchor(*anchor))
    newer = db.execute(
        "SELECT type, received_ms, record FROM records WHERE stream = ? AND id > ? AND type IN (5, 6)",
        (stream, catalog.position(db, catalog.CURSOR)),
    )
    for kind, received_ms, record in newer:
        known = catalog.fact(stream, kind, received_ms, record)
        if isinstance(known, catalog.BootRow):
            boots.add(known.boot)
        elif isinstance(known, catalog.AnchorRow):
            anchors.setdefault(known.boot, []).append(Anchor(known.uptime_ms, known.utc_ms, known.err_ms))
    boot = max((*boots, *anchors), default=0)
    if boot not in anchors:
        return None
    last = max(anchors[boot], key=lambda anchor: anchor.uptime_ms)
    return Uptime(boot, last.uptime_ms, last.utc_ms)
