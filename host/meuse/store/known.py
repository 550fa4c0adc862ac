"""What records say about other records, as far as it was delivered here: the tables meuse_schemas and meuse_anchors.

The catalog beside the store's rows: a worker on another machine has no journal to look into. The first schema under
an id stays, as in the journal.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from meuse.catalog import AnchorRow, Fact, Facts, Origin, SchemaRow

if TYPE_CHECKING:
    from meuse.store.connection import Connection

CREATE: Final = (
    """CREATE TABLE IF NOT EXISTS meuse_schemas(
        stream bigint, sid integer, seq bigint NOT NULL, name text NOT NULL, tick_ms integer NOT NULL,
        channels bytea NOT NULL, PRIMARY KEY(stream, sid))""",
    """CREATE TABLE IF NOT EXISTS meuse_anchors(
        stream bigint, seq bigint, boot bigint NOT NULL, uptime_ms bigint NOT NULL, utc_ms bigint NOT NULL,
        err_ms bigint NOT NULL, PRIMARY KEY(stream, seq))""",
)


def add(db: "Connection", found: Iterable[Fact]) -> set[int]:
    """Remember facts; part of the caller's transaction. Returns the streams whose records may have waited for them."""
    streams: set[int] = set()
    for fact in found:
        if isinstance(fact, SchemaRow | AnchorRow):
            table = "meuse_schemas" if isinstance(fact, SchemaRow) else "meuse_anchors"
            db.run(f"INSERT INTO {table} VALUES($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING", *fact)
            streams.add(fact.stream)
    return streams


def load(db: "Connection", origins: dict[int, Origin], streams: Iterable[int]) -> Facts:
    """Everything known of these streams."""
    facts = Facts()
    facts.origins.update(origins)
    wanted = list(streams)
    for row in db.run(
        "SELECT stream, sid, seq, name, tick_ms, channels FROM meuse_schemas WHERE stream = ANY($1::bigint[])", wanted
    ):
        facts.add(SchemaRow(*row))
    for row in db.run(
        "SELECT stream, seq, boot, uptime_ms, utc_ms, err_ms FROM meuse_anchors WHERE stream = ANY($1::bigint[])",
        wanted,
    ):
        facts.add(AnchorRow(*row))
    return facts
