"""What a person sees while the host runs: a table in a terminal, plain lines elsewhere."""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich import box
from rich.console import Console, JustifyMethod
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

# Title, head, rule, caption and a line to spare.
FRAME_LINES = 6

# Channels of one device that are shown; the rest is one `meuse query` away.
SHOWN_CHANNELS = 4

NO_VALUES = "the first are on their way"


# Of a link's name the end tells ports apart.
LINK_CHARACTERS = 16
DEVICE_CHARACTERS = 16

VALUES = "last values"
HEADS = ("device", "link", VALUES, "per s", "waiting", "ack")


class Line(NamedTuple):
    """One device as shown."""

    device: str
    link: str
    values: list[str]
    rate: float  # readings per second
    waiting: int  # records announced and not yet durable
    ack_ms: int

    def words(self) -> str:
        values = ", ".join(self.values) or NO_VALUES
        rest = f"{self.rate:.1f} readings/s  {self.waiting} waiting  ack {self.ack_ms} ms"
        return f"{self.device}  {self.link}  {values}  {rest}"

    def cells(self, together: str) -> list[str]:
        """For a table; values `together` in one cell."""
        kind, _, name = self.link.partition(":")
        room = LINK_CHARACTERS - len(kind) - 1
        link = f"{kind} {name if len(name) <= room else '…' + name[1 - room :]}".strip()
        values = together.join(self.values) or NO_VALUES
        device = self.device if len(self.device) <= DEVICE_CHARACTERS else self.device[: DEVICE_CHARACTERS - 1] + "…"
        return [device, link, values, f"{self.rate:.1f}", str(self.waiting), f"{self.ack_ms} ms"]


class View:
    """Run `run()` as a task; cancel it to stop. While the terminal is `busy` with a frame, none is drawn."""

    def __init__(
        self,
        bridge: Bridge,
        latest: Latest,
        console: Console,
        lines_every_s: float = 5.0,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bridge = bridge
        self._lines_every_s = lines_every_s
        self._latest = latest
        self._console = console
        self._busy = busy
        self._began = time.monotonic()
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
                while True:
                    await self._look()
                    if not self._busy():
                        live.update(self.table(), refresh=True)
                    await asyncio.sleep(REFRESH_S)
        shown_at = time.monotonic()
        while True:
            await self._look()
            if time.monotonic() - shown_at >= self._lines_every_s:
                shown_at = time.monotonic()
                for line in self.lines():
                    self._console.print(line.words(), soft_wrap=True, highlight=False, markup=False)
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
            shown = [f"{v.channel} {v.text} {v.unit}".strip() for v in values[:SHOWN_CHANNELS]]
            if len(values) > SHOWN_CHANNELS:
                shown.append(f"{len(values) - SHOWN_CHANNELS} more")
            link = known.link if known.online else "away"
            yield Line(device, link, shown, self.rate(device), self._bridge.backlog(known), known.ack_ms)

    def table(self) -> Table:
        """The same for a terminal."""
        commits = self._bridge.commits
        trouble = commits.failing
        count = len(self._bridge.presences.devices)
        title = Text(f"{commits.committed} records durable, {count} devices heard")
        table = Table(
            title=Text(f"journal: {trouble.message}", style="red") if trouble else title,
            caption="Ctrl-C stops",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        lines = list(self.lines())
        tall = sum(max(1, len(line.values)) for line in lines) + FRAME_LINES <= self._console.height
        rows = [line.cells("\n" if tall else ", ") for line in lines]
        # Where a terminal is narrow, only the values are cut.
        widths = {name: max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(HEADS)}
        others = sum(widths.values()) - widths[VALUES] + 2 * len(HEADS)
        widths[VALUES] = max(len(VALUES), self._console.width - others)
        for at, name in enumerate(HEADS):
            side: JustifyMethod = "left" if at <= HEADS.index(VALUES) else "right"
            least = len(VALUES) if name == VALUES else widths[name]
            table.add_column(
                name, no_wrap=True, overflow="ellipsis", justify=side, min_width=least, max_width=widths[name]
            )
        for row in rows:
            table.add_row(*map(Text, row))  # as it is: a board may send brackets
        return table
