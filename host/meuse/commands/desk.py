"""Where requests come in, whoever brings them: over MQTT, over HTTP. Each is in the database before it is answered.

Owns who may ask for which device, what the same id asked twice means, and how often may be asked. What is refused here
was never a command, so nothing of it is kept.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from meuse_protocol.rate import Rate

from meuse.clock import Clock
from meuse.commands import lease, table
from meuse.commands.request import Confirm, Renew, Wanted
from meuse.commands.table import Command, Request
from meuse.errors import HostError
from meuse.identity import DEFAULT_SITE, DEFAULT_TENANT
from meuse.journal.sql import Database
from meuse.journal.threads import Journal

# Of one device, in a minute. Each that lasts is two writes to its flash.
PER_MINUTE: Final = 120


class Inquiry(NamedTuple):
    """A request, and where it was made: `tenant` and `site` must be the device's; None: any."""

    wanted: Wanted
    device: str | None  # None: the one of the command that it is about
    tenant: str | None
    site: str | None


class Verdict(NamedTuple):
    """What became of it: the state that the command has now. `kept`: it has one, here and for `meuse send`."""

    state: str
    detail: str
    kept: bool
    new: bool = False
    missing: bool = False  # there is no such device or command, for whoever asked


class Desk:
    """`asked()`: called when there is something to be done."""

    def __init__(self, journal: Journal, clock: Clock, asked: Callable[[], None]) -> None:
        self._journal = journal
        self._clock = clock
        self._asked = asked
        self._rates: dict[str, Rate] = {}  # of devices that exist
        self._moved = asyncio.Event()
        self.watchers: list[Callable[[], None]] = []  # told that some command has a new state

    def moved(self) -> None:
        """Some command has a new state."""
        self._moved.set()
        self._moved = asyncio.Event()
        for tell in self.watchers:
            tell()

    async def change(self, seconds: float) -> None:
        """Until some command has a new state, or the time is over. Other processes write, too, so do look again."""
        waiting = self._moved
        try:
            async with asyncio.timeout(seconds):
                await waiting.wait()
        except TimeoutError:
            pass

    async def take(self, inquiries: list[Inquiry]) -> list[Verdict]:
        """All in one transaction, in their order; what they bring about is durable then. Raises JournalError."""
        verdicts = await self._journal.write(lambda db: [self._take(db, inquiry) for inquiry in inquiries])
        if any(verdict.new for verdict in verdicts):
            self._asked()
            self.moved()
        return verdicts

    # -- on the writer's thread

    def _take(self, db: Database, inquiry: Inquiry) -> Verdict:
        wanted, now_ms = inquiry.wanted, self._clock.utc_ms()
        known = table.find(db, wanted.id)
        device = inquiry.device or (known.device if known is not None else "")
        if not _belongs(db, device, inquiry):
            what = f"device {device!r}" if inquiry.device else f"command {wanted.id!r}"
            return Verdict(table.REFUSED, f"there is no {what} here", kept=False, missing=True)
        if not self._rates.setdefault(device, Rate(PER_MINUTE, 60_000)).allow(self._clock.now_ms()):
            return Verdict(table.REFUSED, f"more than {PER_MINUTE} requests a minute for {device}", kept=False)
        if known is not None and known.device != device:
            return Verdict(table.REFUSED, "another command has this id", kept=False)
        try:
            if isinstance(wanted, Request):
                return _ask(db, wanted, known, now_ms)
            if known is None:
                return Verdict(table.REFUSED, f"there is no command {wanted.id!r} here", kept=False, missing=True)
            return (_confirm if isinstance(wanted, Confirm) else partial(_renew, wanted=wanted))(
                db, known, now_ms=now_ms
            )
        except HostError as error:
            return Verdict(table.REFUSED, error.message, kept=False)


def _belongs(db: Database, device: str, inquiry: Inquiry) -> bool:
    """Nobody learns of devices of another tenant, not even that they exist."""
    row = db.execute("SELECT tenant, site FROM devices WHERE device = ?", (device,)).fetchone()
    if row is None:
        return False
    tenant, site = row[0] or DEFAULT_TENANT, row[1] or DEFAULT_SITE
    return inquiry.tenant in (None, tenant) and inquiry.site in (None, site)


def _ask(db: Database, wanted: Request, known: Command | None, now_ms: int) -> Verdict:
    if known is not None:
        if (known.op, known.arg, known.done_when, known.within_ms) != (
            wanted.op,
            wanted.arg,
            wanted.done_when,
            wanted.within_ms,
        ):
            return Verdict(table.REFUSED, "another command has this id", kept=False)
        return Verdict(known.state, "", kept=True)
    if wanted.expires_ms <= now_ms:
        return Verdict(table.EXPIRED, "it came when its time was over", kept=False)
    table.ask(db, wanted, now_ms)
    return Verdict(table.QUEUED, "", kept=True, new=True)


def _confirm(db: Database, known: Command, now_ms: int) -> Verdict:
    if known.confirmed:
        return Verdict(known.state, "", kept=True)
    if known.state != table.STARTED or known.started_ms is not None or known.prepared_ms is None:
        raise HostError(f"{known.id} is {known.state}: there is nothing to confirm")
    table.confirm(db, known.id)
    return Verdict(known.state, "", kept=True, new=True)


def _renew(db: Database, known: Command, wanted: Renew, now_ms: int) -> Verdict:
    lease.renew(db, known, wanted.sent_ms, now_ms)
    return Verdict(known.state, "", kept=True, new=True)
