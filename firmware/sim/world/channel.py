"""One measured quantity of the world: where its true value comes from, and the note of each value the board got."""

from fractions import Fraction
from typing import Protocol

from .clock import WorldClock
from .served import Served, stated
from .trace import Truth as Truth


class Source(Protocol):
    """Where true values come from: a trace, or physics."""

    def now(self, column: str, scenario_s: float) -> Truth: ...


class Channel:
    """`column` of `source` is the quantity; `decimals` is how the board states it."""

    def __init__(
        self, name: str, column: str, decimals: int, source: Source, clock: WorldClock, served: Served
    ) -> None:
        self.name = name
        self.decimals = decimals
        self.clock = clock
        self._column = column
        self._source = source
        self._served = served

    def now(self) -> Truth:
        """The quantity as it is at this moment of the scenario."""
        return self._source.now(self._column, self.clock.scenario_s())

    def serve(self, raw: int, value: Fraction | None, truth: Truth, quality: int | None = None) -> None:
        """Notes that the board was just told `raw`, which by the datasheet is `value`."""
        number = None if value is None else stated(value, self.decimals)
        self._served.log(self.clock.real_s(), self.name, raw, number, truth.trace_time, quality)
