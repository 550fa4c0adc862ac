"""A pellet stove as physics, and its hardware interlock: heat balances, not a real stove. SIMULATED.

Driven by three output pins of the board; gives the quantities that its sensors feel. Pellets fall into the pot, the
glow plug lights them, air burns them, their power heats flue gas, water and room, each with a first-order lag. In
series with the auger's supply lie a door switch, a pressure switch and a thermostat that stays open once it was too
hot (STB). Constants are of the order of a stove of 6 kW; pellets have 17.5 kJ/g.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import exp

from ..trace import Truth
from .pulse import Meter

STEP_S = 0.5  # of integration: short against every lag below
FAULTS = ("cold-plug", "no-pellets", "blocked-flue", "door-open", "auger-stuck", "button")
COLUMNS = ("flue_temp", "water_temp", "room_temp", "air_pressure", "door_open", "button", "auger_turns")

TURNS_S = 1 / 30  # of the auger while it is driven
GRAMS = 12.6  # of pellets for each
BURN_S = 90.0  # lag of the pot
KJ_G = 17.5
PLUG_HOT, PLUG_S, PLUG_LIGHTS = 800.0, 60.0, 400.0
POT_LIGHTS_G, POT_OUT_G, LIGHTING_S = 15.0, 1.0, 45.0
FAN_S, FULL_PA, BLOCKED, DOOR = 3.0, 40.0, 0.1, 0.5
SWITCH_PA = 8.0  # the pressure switch closes
FLUE_K_KW, FLUE_S = 70.0, 40.0
WATER_K_KW, WATER_S = 12.0, 600.0
ROOM_K_KW, ROOM_S, OUTSIDE = 6.0, 3600.0, 8.0
STB_TRIPS = 350.0  # in the flue, a little above what the controller bears


@dataclass(frozen=True)
class Coils:
    """Numbers of the board's outputs. A relay that nobody drives falls off; the fan's is wired to run then."""

    igniter: int
    fan: int
    auger: int


class Stove:
    """`level(pin)`: what the board drives, None if nothing; mains(): whether there is any; fault(kind): of FAULTS."""

    def __init__(
        self,
        coils: Coils,
        level: Callable[[int], int | None],
        fault: Callable[[str], bool],
        now_s: float,
        mains: Callable[[], bool] = lambda: True,
    ) -> None:
        self._coils = coils
        self._level = level
        self._fault = fault
        self._mains = mains
        self._at_s = now_s
        self.fan = self.lighting_s = self.pot_g = self.turns = self.power_kw = 0.0
        self.plug = self.room = self.water = self.flue = 17.0
        self.lit = self.tripped = False

    def advance(self, to_s: float) -> None:
        """Lives up to this second of the scenario with the outputs as they are now."""
        while self._at_s < to_s:
            step_s = min(STEP_S, to_s - self._at_s)
            self._live(step_s)
            self._at_s += step_s

    def now(self, column: str, scenario_s: float) -> Truth:
        self.advance(scenario_s)
        values: dict[str, float] = {
            "flue_temp": self.flue,
            "water_temp": self.water,
            "room_temp": self.room,
            "air_pressure": self.pressure,
            "door_open": self._fault("door-open"),
            "button": self._fault("button"),
            "auger_turns": int(self.turns),
        }
        return Truth(Fraction(round(values[column] * 1000), 1000), None)

    @property
    def pressure(self) -> float:
        """Of the combustion air, in pascal below the room's."""
        door = DOOR if self._fault("door-open") else 1.0
        return FULL_PA * self.fan**2 * door * (BLOCKED if self._fault("blocked-flue") else 1.0)

    @property
    def interlock(self) -> bool:
        """Whether the auger has a supply: no software is in this line."""
        return not self.tripped and not self._fault("door-open") and self.pressure >= SWITCH_PA

    def driven(self, pin: int, at_rest: int) -> bool:
        level = self._level(pin)
        return self._mains() and bool(at_rest if level is None else level)

    def _live(self, s: float) -> None:
        self.fan += (self.driven(self._coils.fan, 1) - self.fan) * _part(s, FAN_S)
        igniter = self.driven(self._coils.igniter, 0) and not self._fault("cold-plug")
        self.plug += ((PLUG_HOT if igniter else self.flue) - self.plug) * _part(s, PLUG_S)
        stuck = self._fault("auger-stuck") and self._mains()
        if self.interlock and (stuck or self.driven(self._coils.auger, 0)):
            self.turns += TURNS_S * s
            if not self._fault("no-pellets"):
                self.pot_g += TURNS_S * s * GRAMS
        self._burn(s)
        self.flue += (self.room + FLUE_K_KW * self.power_kw - self.flue) * _part(s, FLUE_S)
        self.water += (self.room + WATER_K_KW * self.power_kw - self.water) * _part(s, WATER_S)
        self.room += (OUTSIDE + ROOM_K_KW * max(self.power_kw, 1.5) - self.room) * _part(s, ROOM_S)
        self.tripped = self.tripped or self.flue > STB_TRIPS

    def _burn(self, s: float) -> None:
        """The pot burns at a rate of what is in it and of its air; a natural draught is left when the fan stands."""
        if not self.lit:
            lights = self.plug > PLUG_LIGHTS and self.pot_g > POT_LIGHTS_G
            self.lighting_s = self.lighting_s + s if lights else 0.0
            self.lit = self.lighting_s > LIGHTING_S
        if self.pot_g < POT_OUT_G:
            self.lit = False
        burnt = self.pot_g * _part(s, BURN_S) * (0.3 + 0.7 * self.fan) if self.lit else 0.0
        self.pot_g -= burnt
        self.power_kw = burnt * KJ_G / s


def _part(s: float, lag_s: float) -> float:
    """Share of the way to its goal that a first-order lag goes in `s` seconds."""
    return 1 - exp(-s / lag_s)


@dataclass(frozen=True)
class Turns(Meter):
    """The contact on the auger's shaft: a pulse a turn."""

    stove: Stove

    def pulses(self, scenario_s: float) -> float:
        self.stove.advance(scenario_s)
        return self.stove.turns

    def wait_s(self, scenario_s: float) -> float:
        return 1.0
