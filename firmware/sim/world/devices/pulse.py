"""A meter's pulse contact: closes to ground for each unit of consumption, by a profile of 24 hourly rates.

Source of the timing: EN 62053-31 (S0), class A: active at least 30 ms, pause at least 30 ms. The contact bounces
when told to. The count is what an ideal counter on the board would hold; the board's own comes from interrupts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..buses import Pins
from ..clock import WorldClock
from ..served import Served, stated

ACTIVE_S = 0.03
PAUSE_S = 0.03
BACKLOG = 100  # pulses that may wait for a board that is slow to take them; more are skipped and counted
CLOSED, OPEN = 0, 1
BOUNCE = [CLOSED, OPEN, CLOSED, OPEN, CLOSED]


@dataclass(frozen=True)
class Meter:
    """`per_pulse` and `index` (its reading before the first pulse) in the channel's unit, `rates` in pulses/hour."""

    channel: str
    decimals: int
    per_pulse: Fraction
    index: Fraction
    rates: tuple[Fraction, ...]

    def pulses(self, scenario_s: float) -> float:
        """Pulses from the scenario's midnight to this second of it; the profile repeats daily."""
        hours = scenario_s / 3600
        days, hour = divmod(hours, 24)
        whole = int(hour)
        today = sum(self.rates[:whole]) + float(self.rates[whole]) * (hour - whole)
        return float(sum(self.rates)) * days + float(today)

    def wait_s(self, scenario_s: float) -> float:
        """Scenario seconds until the next pulse at the present rate, an hour at most."""
        rate = float(self.rates[int(scenario_s / 3600) % 24])
        missing = 1 - self.pulses(scenario_s) % 1
        return min(missing * 3600 / rate, 3600.0) if rate else 3600.0


class PulseContact:
    """`fault("bounce")` makes each closing and opening bounce, `fault("stuck")` keeps it open."""

    def __init__(self, pin: int, meter: Meter, clock: WorldClock, served: Served, fault: Callable[[str], bool]) -> None:
        self.pin = pin
        self.meter = meter
        self.counted = 0  # pulses that this board's counter must hold, with those of before its start
        self.skipped = 0
        self.lost = 0  # counted by the board and gone with its supply; never below 0, or it made some up
        self._counting = False  # from the board's word on what it counts from, to the end of that life
        self._lived = False
        self._clock = clock
        self._served = served
        self._fault = fault

    def attach(self, pins: Pins) -> None:
        pins.drive(self.pin, [OPEN])
        pins.observers[self.pin] = lambda: self._told() if pins.armed(self.pin) else None

    def board_started(self, counted: int) -> None:
        """The board's counter goes on from what its flash kept; the world knows how much that is short of."""
        if self._lived:
            self.lost += self.counted - counted
        self.counted, self._lived, self._counting = counted, True, True

    def board_stopped(self) -> None:
        """Its counter is armed before or after it says what it goes on from: until both are done, the contact rests."""
        self._counting = False

    def _counted_now(self, pins: Pins) -> bool:
        return self._counting and pins.armed(self.pin)

    async def play(self, pins: Pins, taken: Callable[[], bool]) -> None:
        """Runs for ever; `taken()` says whether the board has handled the edges so far."""
        played = int(self.meter.pulses(self._clock.scenario_s()))
        while True:
            due = int(self.meter.pulses(self._clock.scenario_s()))
            if not self._counted_now(pins) or self._fault("stuck"):
                played = due  # nobody counts
            if due - played > BACKLOG:
                self.skipped += due - played - BACKLOG
                played = due - BACKLOG
            if played < due:
                played += 1
                await self._pulse(pins, taken)
            else:
                wait_s = self.meter.wait_s(self._clock.scenario_s()) / self._clock.speed
                await asyncio.sleep(min(max(wait_s, 0.001), 0.25))

    async def _pulse(self, pins: Pins, taken: Callable[[], bool]) -> None:
        bounce = self._fault("bounce")
        pins.drive(self.pin, BOUNCE if bounce else [CLOSED])
        await self._rest(ACTIVE_S, taken)
        if self._counted_now(pins):
            self.counted += 1
        pins.drive(self.pin, [1 - level for level in BOUNCE] if bounce else [OPEN])
        await self._rest(PAUSE_S, taken)

    @staticmethod
    async def _rest(seconds: float, taken: Callable[[], bool]) -> None:
        """At least this long after the board has taken the edge: a paused process must not shorten a pulse."""
        for _ in range(1000):
            if taken():
                break
            await asyncio.sleep(0.005)
        await asyncio.sleep(seconds)

    def _told(self) -> None:
        """The firmware looked at the contact to report its total."""
        value = self.meter.index + self.counted * self.meter.per_pulse
        self._served.log(
            self._clock.real_s(),
            self.meter.channel,
            self.counted,
            stated(value, self.meter.decimals),
            None,
        )
