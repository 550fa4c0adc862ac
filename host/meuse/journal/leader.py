"""What only one of several hosts may do: the one whose session holds an advisory lock. Knows no such work.

A host that dies loses its session at once, and another one takes over within `LOOK_S`. A host that is cut off is
noticed by the server's keep-alives (SESSION: 14 s), and notices by itself that nobody answers after `ANSWER_S`:
it stops before another begins.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from meuse.errors import JournalError
from meuse.journal import postgres
from meuse.journal.postgres import PostgresDatabase
from meuse.journal.sql import Database
from meuse.postgres import Address, errors

log = logging.getLogger(__name__)

LOOK_S = 1.0
ANSWER_S = 3.0

_KEYS = {"host": 0x4D45_5553_0000_0002, "lake": 0x4D45_5553_0000_0003}

Works = Callable[[], dict[str, Coroutine[Any, Any, None]]]


class Leader:
    """Run `run(works)` as a task: it runs the works while this host leads. `close()` gives the lead away."""

    def __init__(self, address: Address, role: str) -> None:
        self._address = address
        self._role = role
        self._thread = ThreadPoolExecutor(1, f"leader-{role}")
        self._db: PostgresDatabase | None = None
        self._errors: tuple[type[Exception], ...] = (JournalError, *errors())
        self.leads = False

    async def run(self, works: Works) -> None:
        """Until cancelled; raises what a work raises."""
        tasks: list[asyncio.Task[None]] = []
        try:
            while True:
                leads = await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
                if leads != self.leads:
                    log.info("this host %s (%s)", "leads" if leads else "leads no more", self._role)
                    self.leads = leads
                    await _end(tasks)
                    tasks = [asyncio.create_task(work, name=name) for name, work in works().items()] if leads else []
                if not tasks:
                    await asyncio.sleep(LOOK_S)
                    continue
                ended, _ = await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
                    tasks.remove(task)
        finally:
            await _end(tasks)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self.leads = False
        self._thread.shutdown()

    def _look(self) -> bool:
        """Whether this session has the lock; takes it if it can."""
        try:
            if self._db is None:
                self._db = postgres.open_writer(self._address, ANSWER_S)
            if self.leads:
                self._db.execute("SELECT 1")
                return True
            (got,) = self._db.execute("SELECT pg_try_advisory_lock(?)", (_KEYS[self._role],)).fetchone()
            return bool(got)
        except self._errors as error:
            log.debug("leader: %s", error)
            self._let_go()
            return False

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def host_leads(db: Database) -> bool:
    """Whether any host runs: one of them leads."""
    key = _KEYS["host"]
    (count,) = db.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::BIGINT = ? AND objid::BIGINT = ?"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (key >> 32, key & 0xFFFFFFFF),
    ).fetchone()
    return bool(count)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
