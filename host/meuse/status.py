"""What the running host tells other processes about itself: two small tables, every few seconds.

Written only when something changed, so that an idle host writes nothing.
"""

import asyncio
import contextlib
import os

from meuse.bridge import Bridge
from meuse.clock import Clock
from meuse.errors import JournalError
from meuse.journal.sql import Database
from meuse.journal.threads import Journal

EVERY_S = 2.0

_DeviceRow = tuple[str, str, bool, int, int, int, int]


class Status:
    """Run `run()` as a task; `write()` once more at the end."""

    def __init__(self, journal: Journal, bridge: Bridge, clock: Clock, whose: str = "") -> None:
        """`whose`: in front of every number's name, where several hosts share the journal."""
        self._whose = whose
        self._journal = journal
        self._bridge = bridge
        self._clock = clock
        self._written: dict[str, _DeviceRow] = {}
        self._told: dict[str, object] = {}
        self._fixed: dict[str, object] = {"pid": os.getpid(), "started_ms": clock.utc_ms()}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # The commit queue reports a failing journal; the next round writes the newest state.
            with contextlib.suppress(JournalError):
                await self.write()
            await asyncio.sleep(EVERY_S)

    async def write(self) -> None:
        """Write what changed since the last time; raises JournalError."""
        if self._whose:  # the host that publishes presence reads it here
            self._bridge.heartbeats(self._clock.utc_ms())
        devices = {row[0]: row for row in self._devices()}
        news = [row for row in devices.values() if self._written.get(row[0]) != row]
        host = self._fixed | self.numbers()
        changed = [(key, value) for key, value in host.items() if self._told.get(key) != value]
        if news or changed:
            named = [(self._whose + key, value) for key, value in changed]
            await self._journal.write(lambda db: _write(db, news, named))
            self._written = devices
            self._told = host

    def numbers(self) -> dict[str, object]:
        """Counters of the host, by name; all since its start."""
        commits = self._bridge.commits
        numbers: dict[str, object] = {
            "committed": commits.committed,
            "commits": commits.commits,
            "times_full": commits.times_full,
            "failures": commits.failures,
            "failing": commits.failing.message if commits.failing else "",
            "events_dropped": commits.events_dropped,
            "conflicts": commits.conflicts,
            "console_dropped": self._bridge.console.dropped,
        }
        return numbers | {f"link.{name}": count for name, count in self._bridge.totals().items()}

    def _devices(self) -> list[_DeviceRow]:
        return [
            (
                known.device,
                known.link,
                known.online,
                known.since_ms,
                known.heard_ms,
                self._bridge.backlog(known),
                known.ack_ms,
            )
            for known in self._bridge.presences.devices.values()
        ]


def _write(db: Database, devices: list[_DeviceRow], host: list[tuple[str, object]]) -> None:
    db.executemany(
        "INSERT INTO device_status VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(device) DO UPDATE SET link = excluded.link,"
        " online = excluded.online, since_ms = excluded.since_ms, seen_ms = excluded.seen_ms,"
        " backlog = excluded.backlog, ack_ms = excluded.ack_ms WHERE excluded.seen_ms >= device_status.seen_ms",
        devices,
    )
    db.executemany(
        "INSERT INTO host_status VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        [(key, str(value)) for key, value in host],
    )
