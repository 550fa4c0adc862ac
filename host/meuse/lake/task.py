"""The lake's place in the running host: keeps the catalog up to date, starts the writer when due.

Never on the way of an acknowledgement: reading happens on the journal's reading thread, the few
facts found are one short transaction, and the writer is a process of its own.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from meuse import catalog
from meuse.errors import JournalError
from meuse.journal.threads import Journal
from meuse.lake import files, writer
from meuse.lake.policy import Policy
from meuse.postgres import Address

# No record may leave the journal before these have passed it.
READERS: Final = (catalog.CURSOR, files.CURSOR)

# How soon a new schema or anchor is in its table, and how often the age of the tail is looked at.
INTERVAL_S = 1.0
# A full disk does not get emptier by trying at once again.
AFTER_FAILURE_S = 30.0

# Told once when writing begins to fail (with the reason) and once when it works again ("").
Report = Callable[[str], None]


class LakeWriter:
    """Run `run()` as a task; cancel it to stop, then `finish()` writes what is left."""

    def __init__(
        self,
        journal: Journal,
        data: Path,
        utc_ms: Callable[[], int],
        report: Report = lambda trouble: None,
        policy: Policy | None = None,
        address: Address | None = None,
    ) -> None:
        """`address`: of a journal that is not under `data`."""
        self._address = address
        self._journal = journal
        self._data = data
        self._utc_ms = utc_ms
        self._report = report
        self._policy = policy or Policy()
        self.passes = 0  # runs of the writer that ended well
        self.failures = 0
        self.trouble = ""  # why the last run failed; empty while all is well

    async def run(self) -> None:
        """Until cancelled. Trouble is reported and tried again, never raised."""
        while True:
            try:
                well = await self._round()
            except JournalError as trouble:
                self._note(trouble.message)
                well = False
            await asyncio.sleep(INTERVAL_S if well else AFTER_FAILURE_S)

    async def keep_catalog(self) -> None:
        """Until cancelled; for a host that leaves the lake to another."""
        while True:
            with contextlib.suppress(JournalError):
                await self._catalog()
            await asyncio.sleep(INTERVAL_S)

    async def _round(self) -> bool:
        await self._catalog()
        pending = await self._journal.read(lambda db: writer.pending(db, self._policy))
        if not self._policy.due(pending, self._utc_ms()):
            return True
        return await self._write()

    async def finish(self) -> bool:
        """Write everything that is in the journal; True if that worked."""
        await self._catalog()
        return await self._write("--all")

    async def _catalog(self) -> None:
        while True:
            found = await self._journal.read(catalog.find)
            if not found.worth_commit:
                return
            await self._journal.write(partial(catalog.store, found=found, now_ms=self._utc_ms()))

    async def _write(self, *options: str) -> bool:
        if self._address is not None:
            options = (*options, f"--journal={json.dumps(self._address)}")
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "meuse.lake", str(self._data), *options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:  # no memory, no process, no descriptor left: later there may be
            self._note(f"the writer cannot be started: {error}")
            return False
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            # It may be ended at any point; what it left half done, the next one finishes.
            process.kill()
            await process.wait()
            raise
        self._note("" if process.returncode == 0 else _last_line(errors))
        return process.returncode == 0

    def _note(self, trouble: str) -> None:
        if trouble:
            self.failures += 1
        else:
            self.passes += 1
        if bool(trouble) != bool(self.trouble):
            self._report(trouble)
        self.trouble = trouble


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the writer ended without a word"
