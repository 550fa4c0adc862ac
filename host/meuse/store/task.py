"""The store's place in the running host: a reader of the journal with a durable cursor, beside the links.

A crash between the store's commit and the cursor's brings the same records again, which changes nothing there. Never
on the way of an acknowledgement: a server that is away costs nothing, the journal keeps what it has not got.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from meuse import catalog, delivery
from meuse.delivery import Delivery
from meuse.errors import JournalError
from meuse.journal.sql import Database
from meuse.journal.threads import Journal
from meuse.store.connection import StoreError
from meuse.store.writer import Store

CURSOR: Final = "store"

# Between two looks while nothing comes, and how often what waits is looked through without a reason.
IDLE_S: Final = 1.0
SWEEP_S: Final = 60.0

# After a failure: 0.5, 1, 2 ... 30 s.
FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0

# Told once when writing begins to fail (with the reason) and once when it works again ("").
Report = Callable[[str], None]

T = TypeVar("T")


class StoreWriter:
    """Run `run()` as a task; cancel it, then `finish()` writes what is left, and `close()`."""

    def __init__(self, journal: Journal, store: Store, utc_ms: Callable[[], int], report: Report) -> None:
        self._journal = journal
        self._store = store
        self._utc_ms = utc_ms
        self._report = report
        self._thread = ThreadPoolExecutor(1, "store")
        self._wake = asyncio.Event()
        self._swept_at = 0.0
        self.trouble = ""  # why the last try failed; empty while all is well
        journal.grown.append(self._wake.set)

    async def run(self) -> None:
        """Until cancelled. Trouble is reported and tried again, never raised."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                moved = await self._round()
                await self._sweep()
                self._note("")
                failures = 0
            except (StoreError, JournalError) as error:
                self._note(error.message)
                await asyncio.sleep(min(FIRST_S * 2**failures, LONGEST_S))
                failures = min(failures + 1, 16)
                continue
            if not moved:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._wake.wait()

    async def finish(self) -> None:
        """Write what the journal has; raises StoreError or JournalError."""
        while await self._round():
            pass

    async def close(self) -> None:
        """Waits for what is under way."""
        await self._apart(self._store.close)
        self._thread.shutdown()

    async def _round(self) -> bool:
        """One delivery; False when there is none."""
        found: Delivery = await self._journal.read(_next)
        if not found.records:
            return False
        await self._apart(partial(self._store.write, found))
        last, now_ms = found.records[-1].id, self._utc_ms()
        await self._journal.write(lambda db: catalog.move_cursor(db, CURSOR, last, now_ms))
        return True

    async def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._swept_at or now - self._swept_at >= SWEEP_S:
            await self._apart(self._store.sweep)
            self._swept_at = now

    async def _apart(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _note(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            self._report(trouble)
        self.trouble = trouble


def _next(db: Database) -> Delivery:
    return delivery.take(db, catalog.position(db, CURSOR))
