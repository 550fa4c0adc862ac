"""One measured quantity of the world: where its true value comes from, and the note of each value the board got."""

from dataclasses import dataclass
from fractions import Fraction

from .clock import WorldClock
from .served import Served, stated
from .trace import Trace


@dataclass(frozen=True)
class Truth:
    """The physical value at a moment, and the time (s since 1970) of the trace's row it came from."""

    value: Fraction
    trace_time: int | None


class Channel:
    """`column` of `trace` is the quantity; `decimals` is how the board states it."""

    def __init__(self, name: str, column: str, decimals: int, trace: Trace, clock: WorldClock, served: Served) -> None:
        self.name = name
        self.decimals = decimals
        self.clock = clock
        self._trace = trace
        self._values = trace.columns[column]
        self._served = served

    def now(self) -> Truth:
        """The quantity as it is at this moment of the scenario."""
        row = self._trace.row(self.clock.scenario_s())
        return Truth(self._values[row], self._trace.first_s + self._trace.times_s[row])

    def serve(self, raw: int, value: Fraction | None, truth: Truth, quality: int | None = None) -> None:
        """Notes that the board was just told `raw`, which by the datasheet is `value`."""
        number = None if value is None else stated(value, self.decimals)
        self._served.log(self.clock.real_s(), self.name, raw, number, truth.trace_time, quality)
