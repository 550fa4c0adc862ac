"""Notices within seconds what another process changed (`meuse access`, an editor), and sees to it that it counts.

A device whose key was taken away: its frames are refused, its connections end. Then whoever keeps lists of their own
is told. Looks at two folders and one number in the journal.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from meuse.access.backends import Backends
from meuse.access.register import Register
from meuse.bridge import Bridge
from meuse.errors import JournalError
from meuse.identity import Identity, homes, moves
from meuse.journal.threads import Journal
from meuse.keys import KeyStore

log = logging.getLogger(__name__)

# Between two looks; with very many files a twentieth of the time goes into looking, and no more than half a minute.
LOOK_S: Final = 2.0
SHARE: Final = 20
LONGEST_S: Final = 30.0

Told = Callable[[], Awaitable[bool]]
"""-> whether all of it is done; else it is called again at the next look."""

Versions = dict[str, tuple[int, int]]


class AccessWatch:
    """`await open()`, then `run()` as a task. `changed` and `moved` are called after something has changed."""

    def __init__(
        self, journal: Journal, identity: Identity, keys: KeyStore, backends: Backends, bridge: Bridge
    ) -> None:
        self.register = Register(keys, backends, {})
        self.changed: list[Told] = []
        self.moved: list[Told] = []  # devices have another tenant or site
        self._journal = journal
        self._identity = identity
        self._keys = keys
        self._backends = backends
        self._bridge = bridge
        self._owed: list[Told] = []
        self._moves = -1
        self._seen: Versions = {}
        self._seen_backends: Versions = {}

    async def open(self) -> None:
        """As it is now; raises JournalError."""
        self._seen, self._seen_backends = await asyncio.to_thread(self._versions)
        await self._look_at_homes()

    async def run(self) -> None:
        """Until cancelled."""
        took_s = 0.0
        while True:
            await asyncio.sleep(min(max(LOOK_S, SHARE * took_s), LONGEST_S))
            began = time.monotonic()
            try:
                await self.look()
            except JournalError as error:
                log.debug("access: %s", error.message)  # told by the commit queue
            took_s = time.monotonic() - began

    async def look(self) -> None:
        """Once."""
        keys, backends = await asyncio.to_thread(self._versions)
        news = {name for name in keys.keys() | self._seen.keys() if keys.get(name) != self._seen.get(name)}
        others = backends != self._seen_backends
        self._seen, self._seen_backends = keys, backends
        for device in sorted(news):
            self._rekey(device)
        if news or others:
            self._owe(self.changed)  # before anything can fail: it is no news the next time
        if await self._look_at_homes():
            self._owe([*self.moved, *self.changed])
        for tell in self._owed.copy():
            if await tell():
                self._owed.remove(tell)

    def _owe(self, those: list[Told]) -> None:
        self._owed = list(dict.fromkeys([*self._owed, *those]))

    def _versions(self) -> tuple[Versions, Versions]:
        return self._keys.versions(), self._backends.versions()

    def _rekey(self, device: str) -> None:
        if self._identity.rekey(device):
            log.info("%s: its key has changed", device)
            return
        if self._keys.revoked(device):
            log.warning("%s: its key is revoked; nobody speaks for it any more", device)
            self._bridge.commits.event("key-revoked", device, "")
        self._bridge.expel(device)

    async def _look_at_homes(self) -> bool:
        number = await self._journal.read(moves)
        if number == self._moves:
            return False
        self.register.homes = await self._journal.read(homes)
        self._moves = number
        return True
