"""The forwarder put to work: a thread with an event loop of its own, which may wait for the disk when the host may not.

Reads the journal by a connection of its own; writes its cursor, and asks boards for what upstream wants, on the host's
event loop.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from meuse_protocol.reactions import Command, Needed

from meuse import catalog
from meuse.bridge import Bridge
from meuse.clock import Clock
from meuse.config import parse_upstream
from meuse.errors import JournalError
from meuse.journal.threads import Journal
from meuse.keys import FOLDER as KEYS_FOLDER
from meuse.keys import KeyStore
from meuse.links import Link, Wire, broker
from meuse.links.dial import DialLink
from meuse.links.serial import SerialLink
from meuse.settings import UpstreamSettings
from meuse.upstream.backlog import CURSOR, STEP, Backlog
from meuse.upstream.forwarder import Forwarder
from meuse.upstream.uplink import Uplink

log = logging.getLogger(__name__)

# Keys that only the two hosts share: this host's own, and those of boards that have none here.
FOLDER: Final = "upstream-keys"

# The cursor is for the purge and for the next start: what was sent since is asked for again then, and not stored twice.
SAVE_S: Final = 1.0

# What boards have given up is looked at so often: a hole upstream, which nobody waits for in the meantime.
SETTLE_MS: Final = 10_000


class Upstream:
    """Run `run()` as a task on the host's event loop."""

    def __init__(
        self, settings: UpstreamSettings, data: Path, journal: Journal, bridge: Bridge, clock: Clock
    ) -> None:
        self._settings = settings
        self._data = data
        self._journal = journal
        self._bridge = bridge
        self._clock = clock
        self._keys = KeyStore(data / KEYS_FOLDER)
        self._own_keys = KeyStore(data / FOLDER)
        self._own_keys.provision(settings.name)
        self._secure = broker.secure(settings, "upstream") if settings.url.startswith("tls:") else None
        self._uplink: Uplink | None = None
        self._was_open = False
        self._settled_ms = clock.now_ms()
        self._outer = asyncio.get_running_loop()
        self._inner: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None
        self._working: asyncio.Task[None] | None = None
        self.waiting = 0  # records, about

    async def run(self) -> None:
        """Until cancelled."""
        self._journal.grown.append(self._grown)
        with ThreadPoolExecutor(1, "upstream") as thread:
            work = self._outer.run_in_executor(thread, lambda: asyncio.run(self._work()))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                self._inward(self._stop)
                await asyncio.gather(work, return_exceptions=True)
                raise
            finally:
                self._journal.grown.remove(self._grown)

    # -- on the host's event loop

    def _grown(self) -> None:
        self._inward(self._look)

    def _inward(self, call: Callable[[], object]) -> None:
        if self._inner is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._inner.call_soon_threadsafe(call)

    def _ask(self, device: str, stream: int, event: Command | Needed) -> None:
        """A board that is not here now is asked again by upstream, when its records come next."""
        session = self._bridge.session_of(device)
        if session is None:
            self._bridge.count("upstream_board_away")
        elif isinstance(event, Command):
            session.command(stream, event.cid, event.deadline, event.op, event.arg)
        else:
            session.need(stream, event.what, event.items)

    # -- in the thread

    async def _work(self) -> None:
        self._inner = asyncio.get_running_loop()
        self._working = asyncio.current_task()
        self._news = asyncio.Event()
        with contextlib.suppress(asyncio.CancelledError):
            await self._forward(self._news)

    def _stop(self) -> None:
        if self._working is not None:
            self._working.cancel()

    def _look(self) -> None:
        if self._news is not None:
            self._news.set()

    async def _forward(self, news: asyncio.Event) -> None:
        backlog = Backlog(self._data)
        forwarder = Forwarder(self._settings.name, self._key_of, self._wanted)
        link = self._link(forwarder)
        try:
            await link.start()
            while True:
                more = False
                try:
                    more = self._move(backlog, forwarder)
                    await self._save(backlog)
                except (sqlite3.Error, JournalError) as error:  # the commit queue reports it
                    log.debug("upstream: %s", error)
                self._tell(forwarder)
                if not more:
                    news.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SAVE_S):
                            await news.wait()
                await asyncio.sleep(0)
        finally:
            await link.close()
            backlog.close()

    def _move(self, backlog: Backlog, forwarder: Forwarder) -> bool:
        """What is new goes to its stream -> whether there is more."""
        if self._clock.now_ms() - self._settled_ms >= SETTLE_MS:
            self._settled_ms = self._clock.now_ms()
            backlog.settle()
        found = backlog.look()
        for waiting in list(backlog.streams.values()):
            forwarder.carry(waiting)
        for new in found:
            forwarder.added(new)
        if self._uplink is not None:
            self._uplink.pump()
        return len(found) == STEP

    async def _save(self, backlog: Backlog) -> None:
        before = backlog.position
        while backlog.advance():
            if self._uplink is not None:
                self._uplink.pump()
        self.waiting = backlog.count()
        if backlog.position != before:
            position, at_ms = backlog.position, self._clock.utc_ms()
            write = self._journal.write(lambda db: catalog.move_cursor(db, CURSOR, position, at_ms))
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(write, self._outer))

    def _tell(self, forwarder: Forwarder) -> None:
        for device in forwarder.unknown(self._clock.now_ms()):
            log.warning("upstream does not know %s: give it %s", device, self._key_file(device))
        if forwarder.is_open != self._was_open:
            self._was_open = forwarder.is_open
            word = "answers" if self._was_open else "does not answer"
            log.info("upstream: %s; %d records wait", word, self.waiting)
            kind = "upstream-up" if self._was_open else "upstream-lost"
            self._outer.call_soon_threadsafe(self._bridge.commits.event, kind, None, f"{self.waiting} records wait")

    def _wanted(self, device: str, stream: int, event: Command | Needed) -> None:
        self._outer.call_soon_threadsafe(self._ask, device, stream, event)

    def _link(self, forwarder: Forwarder) -> Link:
        def opened(name: str, kind: str, wire: Wire) -> Uplink:
            self._uplink = Uplink(wire, forwarder, self._clock.now_ms, gone)
            self._look()
            return self._uplink

        def gone() -> None:
            self._uplink = None

        where = parse_upstream(self._settings.url, "upstream.url")
        if where.kind == "serial":
            return SerialLink(where.host, self._settings.baud, opened)
        return DialLink(where.kind, where.host, where.port, opened, self._secure)

    def _key_file(self, device: str) -> Path:
        return (self._keys if self._keys.exists(device) else self._own_keys).path(device)

    def _key_of(self, device: str) -> bytes:
        """As upstream knows it: the board's own, or one of this host's making for a board that has none."""
        keys = self._keys.keys(device)
        if keys is None:
            self._own_keys.provision(device)
            keys = self._own_keys.keys(device)
        assert keys
        return keys[0]
