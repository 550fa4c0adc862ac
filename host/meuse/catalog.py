"""What records say about other records: schemas, boots and anchors, taken out of the journal.

Owns the tables `schemas`, `boots` and `anchors` and the cursor `catalog`. Gaps and bindings are
written with the records themselves (journal/writer.py). Extraction may run again over the same
records: every insert is by key, and the first one stays, since a schema id is never redefined.
"""

from typing import Final, NamedTuple

import msgspec
from meuse_protocol import messages, schema, schema_decode
from meuse_protocol.errors import RemoteError

from meuse.dating import Anchor
from meuse.journal.sql import Database

CURSOR: Final = "catalog"

# One pass reads at most this many records, so that no read holds the write-ahead log for long.
PASS_RECORDS: Final = 20_000
# The cursor alone is worth a commit only after this many records without a fact among them.
IDLE_RECORDS: Final = 2_000

_FACTS: Final = (messages.SCHEMA, messages.BOOT, messages.ANCHOR)


class Origin(NamedTuple):
    """Where a stream comes from."""

    device: str
    tenant: str
    site: str


class SchemaRow(NamedTuple):
    stream: int
    sid: int
    seq: int
    name: str
    tick_ms: int
    channels: bytes  # msgpack: [[channel, unit, exp10, flags], ...]


class BootRow(NamedTuple):
    stream: int
    boot: int
    cause: int
    firmware: str
    seq: int
    received_ms: int


class AnchorRow(NamedTuple):
    stream: int
    seq: int
    boot: int
    uptime_ms: int
    utc_ms: int
    err_ms: int


Fact = SchemaRow | BootRow | AnchorRow

_INSERTS: Final[dict[type, str]] = {
    SchemaRow: "INSERT INTO schemas VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    BootRow: "INSERT INTO boots VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    AnchorRow: "INSERT INTO anchors VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
}


def fact(stream: int, kind: int, received_ms: int, record: bytes) -> Fact | None:
    """The fact a stored record holds; None for other types and for elements that make no sense."""
    if kind not in _FACTS:
        return None
    try:
        fields = messages.parse(messages.splice(record, 0)).fields
        messages.check(fields)
        seq, body = fields[2], fields[3:]
        if kind == messages.SCHEMA:
            found = schema_decode.from_body(body)
            channels = msgspec.msgpack.encode(found.channels)
            return SchemaRow(stream, found.sid, seq, found.name, found.tick_ms, channels)
        if kind == messages.BOOT:
            boot, cause, firmware = body[:3]
            return BootRow(stream, boot, cause, firmware, seq, received_ms)
        uptime_ms, utc_ms, err_ms, boot = body[:4]
    except RemoteError:
        return None
    usable = Anchor(uptime_ms, utc_ms, err_ms).in_range()
    return AnchorRow(stream, seq, boot, uptime_ms, utc_ms, err_ms) if usable else None


class Facts:
    """The catalog in memory: what decoding and dating need to know."""

    def __init__(self) -> None:
        self.schemas: dict[tuple[int, int], schema.Schema] = {}
        self.anchors: dict[tuple[int, int], list[Anchor]] = {}
        self.boots: dict[tuple[int, int], BootRow] = {}
        self.origins: dict[int, Origin] = {}

    def add(self, known: Fact) -> None:
        """Take in one fact; the first schema under an id stays."""
        if isinstance(known, SchemaRow):
            channels = [tuple(row) for row in msgspec.msgpack.decode(known.channels)]
            found = schema.Schema(known.sid, known.name, known.tick_ms, channels)
            self.schemas.setdefault((known.stream, known.sid), found)
        elif isinstance(known, AnchorRow):
            anchor = Anchor(known.uptime_ms, known.utc_ms, known.err_ms)
            anchors = self.anchors.setdefault((known.stream, known.boot), [])
            if anchor not in anchors:
                anchors.append(anchor)
        else:
            self.boots.setdefault((known.stream, known.boot), known)

    def origin(self, stream: int) -> Origin:
        """Of an unbound stream nothing is known; its records stay readable all the same."""
        return self.origins.get(stream) or Origin("", "", "")


def load(db: Database) -> Facts:
    """Everything known at this moment: the tables, and the records the cursor has not passed.

    Run it inside the read transaction whose records are to be decoded, or before they are read. The cursor is asked
    first: outside of a transaction it may pass what the tables did not have yet.
    """
    facts = Facts()
    passed = position(db, CURSOR)
    for stream, *origin in db.execute(
        "SELECT stream, streams.device, coalesce(tenant, 'default'), coalesce(site, 'default')"
        " FROM streams LEFT JOIN devices USING (device)"
    ):
        facts.origins[stream] = Origin(*origin)
    for row in db.execute("SELECT stream, sid, seq, name, tick_ms, channels FROM schemas"):
        facts.add(SchemaRow(*row))
    for row in db.execute("SELECT stream, boot, cause, firmware, seq, received_ms FROM boots"):
        facts.add(BootRow(*row))
    for row in db.execute("SELECT stream, seq, boot, uptime_ms, utc_ms, err_ms FROM anchors"):
        facts.add(AnchorRow(*row))
    update(facts, db, passed)
    return facts


def update(facts: Facts, db: Database, after_id: int) -> None:
    """Take in the facts among the records after `after_id`."""
    for known in _facts_between(db, after_id, None):
        facts.add(known)


def position(db: Database, reader: str) -> int:
    """Id of the last record that this reader has finished; 0 before its first."""
    row = db.execute("SELECT position FROM cursors WHERE reader = ?", (reader,)).fetchone()
    return int(row[0]) if row else 0


def move_cursor(db: Database, reader: str, to_id: int, now_ms: int) -> None:
    """Part of the caller's transaction: what was done up to `to_id` commits with it."""
    db.execute(
        "INSERT INTO cursors VALUES(?, ?, ?) ON CONFLICT(reader) DO UPDATE"
        " SET position = excluded.position, updated_ms = excluded.updated_ms",
        (reader, to_id, now_ms),
    )


def forget_cursor(db: Database, reader: str) -> None:
    """Part of the caller's transaction: this reader reads no more, so the journal waits for it no more."""
    db.execute("DELETE FROM cursors WHERE reader = ?", (reader,))


class Found(NamedTuple):
    """Facts of the records up to `last_id`, ready to be stored."""

    facts: list[Fact]
    last_id: int
    worth_commit: bool


def find(db: Database) -> Found:
    """The facts of the next records; any connection will do."""
    start = position(db, CURSOR)
    (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
    last_id = min(newest, start + PASS_RECORDS)
    facts = list(_facts_between(db, start, last_id))
    return Found(facts, last_id, bool(facts) or last_id - start >= IDLE_RECORDS)


def store(db: Database, found: Found, now_ms: int) -> None:
    """Part of the caller's transaction: tables and cursor together."""
    for known in found.facts:
        db.execute(_INSERTS[type(known)], known)
    move_cursor(db, CURSOR, found.last_id, now_ms)


def _facts_between(db: Database, after_id: int, last_id: int | None) -> list[Fact]:
    rows = db.execute(
        "SELECT stream, type, received_ms, record FROM records"
        " WHERE id > ? AND id <= coalesce(?, id) AND type IN (3, 5, 6) ORDER BY id",
        (after_id, last_id),
    )
    return [known for known in (fact(*row) for row in rows) if known is not None]
