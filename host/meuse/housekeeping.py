"""What the host does now and then beside the links: purge old records and commands, watch that readers keep up."""

import asyncio
import logging
from collections.abc import Callable

from meuse.clock import Clock
from meuse.commands import table
from meuse.errors import JournalError
from meuse.journal.sql import Database
from meuse.journal.threads import Journal

log = logging.getLogger(__name__)

EVERY_S = 600.0
DAY_MS = 86_400_000

# A reader that has not moved for so long while records wait needs a person.
BEHIND_MS = 2 * DAY_MS

Note = Callable[[str, str | None, str], None]
"""(kind, device, detail): an event for people."""


async def keep(journal: Journal, clock: Clock, keep_days: int, readers: tuple[str, ...], note: Note) -> None:
    """Until cancelled. Trouble with the disk is the commit queue's to report; here it only waits."""
    behind: set[str] = set()
    while True:
        try:
            before_ms = clock.utc_ms() - keep_days * DAY_MS
            # Each step is a transaction of its own, so commits go between them.
            while await journal.purge(before_ms, readers):
                pass
            await journal.write(lambda db: table.purge(db, clock.utc_ms() - keep_days * DAY_MS))
            late = await journal.read(lambda db: _behind(db, clock.utc_ms() - BEHIND_MS))
            for reader in sorted(late - behind):
                log.warning("reader %s is more than two days behind; see meuse doctor", reader)
                note("reader-behind", None, reader)
            behind = late
        except JournalError as error:
            log.debug("housekeeping: %s", error.message)
        await asyncio.sleep(EVERY_S)


def _behind(db: Database, before_ms: int) -> set[str]:
    """Readers whose next record was received before `before_ms`."""
    found = set()
    for reader, position in db.execute("SELECT reader, position FROM cursors").fetchall():
        row = db.execute("SELECT received_ms FROM records WHERE id > ? ORDER BY id LIMIT 1", (position,)).fetchone()
        if row is not None and row[0] < before_ms:
            found.add(reader)
    return found
