"""A command is done when its effect is measured: looks for a reading that meets its `done_when`. Reads only."""

from decimal import Decimal
from typing import Any, Final

from meuse_protocol.condition_text import condition_of

from meuse.commands.table import Command
from meuse.journal.sql import Database
from meuse.query.follow import Follower, moment
from meuse.query.selection import Selection

# What was measured in time may need so long to get here; boards that collect for longer are told late.
GRACE_MS: Final = 2_000


class Watch:
    """Of one command that was carried out at `started_ms`; only what was measured since counts, by measured time."""

    def __init__(self, db: Database, command: Command) -> None:
        assert command.done_when and command.within_ms and command.started_ms is not None
        self._condition = condition_of(command.done_when)
        selection = Selection((command.device,), (self._condition[0],))
        self._follower = Follower(db, selection, command.since_id or 0)
        self._from = moment(command.started_ms)
        self.last: dict[str, Any] | None = None  # the last reading in question: channel, value, unit, measured_at
        self.until_ms = command.started_ms + command.within_ms
        self._until = moment(self.until_ms)

    def met(self) -> str:
        """The reading that meets the condition, in words, which is `last` then; "" while there is none."""
        for row in self._follower.rows():
            at, value = row["measured_at"], row["value"]
            if at is None or value is None or not self._from <= at <= self._until:
                continue
            self.last = {key: row[key] for key in ("channel", "value", "unit", "measured_at")}
            if self._holds(value):
                return _words(self.last)
        return ""

    def missed(self) -> str:
        """What was measured instead, in words."""
        return _words(self.last) if self.last else f"{self._condition[0]} was not measured"

    def over(self, now_ms: int) -> bool:
        """It was not measured in time."""
        return now_ms > self.until_ms + GRACE_MS

    def _holds(self, value: Any) -> bool:
        _, comparison, number, exp10 = self._condition
        left, right = Decimal(repr(value)), Decimal(number).scaleb(exp10)
        if left == right:
            return len(comparison) == 2
        return bool(comparison[0] == ("<" if left < right else ">"))


def _words(reading: dict[str, Any]) -> str:
    return f"{reading['channel']} was {reading['value']:g} at {reading['measured_at']}"
