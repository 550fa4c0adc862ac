"""What a person sees while the host runs: a table in a terminal, plain lines elsewhere."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meuse.bridge import Bridge
from meuse.errors import JournalError
from meuse.latest import Latest

REFRESH_S = 1.0

# A screen full; all of them are in `meuse devices`.
SHOWN_DEVICES = 30

# Boards send batches: over less than a minute a rate jumps between nothing and much.
RATE_OVER_S = 60.0

# Channels of one device in one line; the rest is one `meuse query` away.
SHOWN_CHANNELS = 4


class Line(NamedTuple):
    """One device as shown."""

    device: str
    link: str
    values: str
    rate: str
    backlog: str
    ack: str


class View:
    """Run `run()` as a task; cancel it to stop."""

    def __init__(self, bridge: Bridge, latest: Latest, console: Console, lines_every_s: float = 5.0) -> None:
        self._bridge = bridge
        self._lines_every_s = lines_every_s
        self._latest = latest
        self._console = console
        self._began = time.monotonic()
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False) as live:
                while True:
                    await self._look()
                    live.update(self.table(), refresh=True)
                    await asyncio.sleep(REFRESH_S)
        shown_at = time.monotonic()
        while True:
            await self._look()
            if time.monotonic() - shown_at >= self._lines_every_s:
                shown_at = time.monotonic()
                for line in self.lines():
                    self._console.print("  ".join(line), soft_wrap=True, highlight=False, markup=False)
            await asyncio.sleep(REFRESH_S)

    async def _look(self) -> None:
        try:
            await self._latest.look()
        except JournalError:
            return  # said by the commit queue; the table shows it
        now = time.monotonic()
        for device, rows in self._latest.rows.items():
            seen = self._seen.setdefault(device, deque([(self._began, 0)]))
            seen.append((now, rows))
            while seen[0][0] < now - RATE_OVER_S and len(seen) > 2:
                seen.popleft()

    def rate(self, device: str) -> float:
        """Rows of readings per second over the last minute, or since the start."""
        seen = self._seen.get(device)
        if seen is None:
            return 0.0
        (then, before), (now, rows) = seen[0], seen[-1]
        return (rows - before) / max(now - then, REFRESH_S)

    def lines(self) -> Iterator[Line]:
        """The devices heard since the start, those that are here first; no more than a screen."""
        heard = sorted(self._bridge.presences.devices.items(), key=lambda item: (not item[1].online, item[0]))
        for device, known in heard[:SHOWN_DEVICES]:
            values = list(self._latest.values.get(device, {}).values())
            shown = ", ".join(f"{v.channel} {v.text} {v.unit}".strip() for v in values[:SHOWN_CHANNELS])
            more = len(values) - SHOWN_CHANNELS
            yield Line(
                device,
                known.link if known.online else "away",
                shown + (f" +{more}" if more > 0 else "") or "the first readings are on their way",
                f"{self.rate(device):.1f} readings/s",
                f"{self._bridge.backlog(known)} waiting",
                f"ack {known.ack_ms} ms",
            )

    def table(self) -> Table:
        """The same for a terminal."""
        commits = self._bridge.commits
        trouble = commits.failing
        count = len(self._bridge.presences.devices)
        title = Text(f"{commits.committed} records durable, {count} devices heard")
        table = Table(title=Text(f"journal: {trouble.message}", style="red") if trouble else title)
        for name in ("device", "link", "last values", "rate", "backlog", "latency"):
            table.add_column(name, overflow="fold" if name == "last values" else "ellipsis")
        for line in self.lines():
            table.add_row(*map(Text, line))  # as it is: a board may send brackets
        return table
