"""What a board says it uses against what the journal has: whom to ask for a schema or an anchor.

A board keeps a SCHEMA only until it is acknowledged; a host that lost its journal must ask again.
Knows seqs and ids only; nothing is decoded here but the ids.
"""

from typing import Any

from meuse_protocol import messages
from meuse_protocol.errors import RemoteError

from meuse.journal.sql import Database


class Announced:
    """Per stream the schema ids stored, and whether an anchor is."""

    def __init__(self, schemas: set[tuple[int, int]], anchored: set[int]) -> None:
        self._schemas = schemas
        self._anchored = anchored

    def note(self, stream: int, kind: int, record: bytes) -> None:
        """A record of type SCHEMA or ANCHOR came."""
        if kind == messages.ANCHOR:
            self._anchored.add(stream)
            return
        try:
            fields = messages.parse(messages.splice(record, 0)).fields
            messages.check(fields)
        except RemoteError:
            return
        self._schemas.add((stream, fields[3]))

    def lacking(self, stream: int, schemas: list[Any]) -> list[int]:
        """Ids among `schemas`, as HELLO lists them, that never came."""
        sids = [entry[0] for entry in schemas if isinstance(entry, list) and entry]
        return [sid for sid in sids if isinstance(sid, int) and (stream, sid) not in self._schemas]

    def anchored(self, stream: int) -> bool:
        return stream in self._anchored


def load(db: Database) -> Announced:
    """From the catalog's tables and the records it has not passed yet."""
    row = db.execute("SELECT position FROM cursors WHERE reader = 'catalog'").fetchone()
    known = Announced(
        set(db.execute("SELECT stream, sid FROM schemas")),
        {stream for (stream,) in db.execute("SELECT DISTINCT stream FROM anchors")},
    )
    newer = db.execute(
        "SELECT stream, type, record FROM records WHERE id > ? AND type IN (3, 6)",
        (row[0] if row else 0,),
    )
    for stream, kind, record in newer:
        known.note(stream, kind, record)
    return known
