"""A pellet stove: measures which conditions of the table hold, takes its rows, drives igniter, fan and auger.

The interface is docs/applications.md; wiring, the hardware interlock and what a technician must know: README.md.
Owns no timing but the auger's. Refuses to know any link: it burns, and stops, with or without a host.
"""

from .table import (
    ALWAYS,
    BAD_SENSOR,
    BURN_OUT,
    BURNING,
    BURNING_TEMP,
    BURNT_OUT,
    BURNT_OUT_TEMP,
    BY_POWER,
    CAUSES,
    COLD,
    COLD_TEMP,
    CONDITIONS,
    COOL_DOWN,
    DOOR_OPEN,
    DRAUGHT_PA,
    DRIVEN,
    FLAME,
    FLAME_TEMP,
    HOTTEST,
    LOCKED,
    LOST,
    LOST_TEMP,
    NO_DRAUGHT,
    NONE,
    OFF,
    OFF_ASKED,
    ON,
    POWER_CUT,
    POWERS,
    PURGE,
    RESET,
    RUNAWAY,
    STATES,
    TILL_COLD,
    TOO_HOT,
    WARM,
    WATER_HOTTEST,
    row_for,
)

SAFETY = ("flue_temp", "water_temp", "air_pressure", "door_open")  # no fire without a good reading of each
MARK = "stove"  # in flash: POWER_CUT while there may be fire, the cause of a lock-out, or NONE
COLD_MS = 300_000  # locked, the fan runs on until the flue has been cold for so long: pellets may glow in the pot
TURN_MS = 1_200  # the auger turns so long at once
STALL_MS = 10_000  # a step that comes so late makes good for no more
IDLE_MS = 30_000  # an auger that was not driven for so long ...
TURNS = 3  # ... and turns so often, turns by itself
BAND = 5  # of the thermostat, in tenths of a degree
HIGHEST_POWER = 5


class Application:
    """A stove on `board`. settings: set_point in tenths of a degree, power 1 to 5, until a command says otherwise."""

    settings = {"set_point": (50, 300), "power": (1, 5)}  # of the product's [application], with their ranges
    channels = ("state", "cause", "feed")  # that it tells
    needs = SAFETY + ("room_temp", "auger_turns", "button")
    outputs = ("igniter", "fan", "auger")
    ops = ("on", "off", "set-point", "power")
    harmless = ("off",)  # carried out even when the flash cannot take what a command is about to do

    def __init__(self, board, settings: dict):
        self._board = board
        self._set_point = board.kept("set_point") or settings.get("set_point", 200)
        self._power = board.kept("power") or settings.get("power", 3)
        mark = board.kept(MARK)
        self.cause = mark
        self.state = LOCKED if mark not in (NONE, POWER_CUT) else BURN_OUT if mark else COOL_DOWN
        self._since_ms = [None] * len(CONDITIONS)
        self._asked = None  # ON or OFF_ASKED, until the next step
        self._entered_ms = self._now = None
        self._heat = False  # asked for by the thermostat
        self._released = False  # the button, since the lock-out
        self._fan = 0
        self._auger = self._owed = 0  # ms x % that the auger has still to turn
        self._driven_ms = 0
        self._turns = None  # when it was last driven
        self._tell(0)

    # -- what the board calls

    def step(self, now: int) -> None:
        """One pass: what holds, where that leads, what is driven. `now`: uptime in ms."""
        if self._now is None:
            self._now = self._entered_ms = now
            self._say("starts")
        self._note(now)
        rule = row_for(self.state, self._entered_ms, self._since_ms, now)
        if rule:
            self._enter(rule[3], rule[4], now)
        self._asked = None
        self._drive(now)
        self._now = now

    def refuses(self, op: str, value):
        """Why not, in words for a person; None where nothing speaks against it."""
        if op != "on":
            return None
        if self.state == LOCKED:
            return "locked: %s; press the stove's button" % CAUSES[self.cause]
        if self.state != OFF:
            return "it is not off: " + STATES[self.state]
        for name in SAFETY:
            if self._board.reading(name) is None:
                return "no good reading of " + name
        return "the door is open" if self._board.reading("door_open") else None

    def act(self, op: str, value):
        """-> what the result says."""
        if op == "set-point":
            self._set_point = value
            self._board.keep("set_point", value)
        elif op == "power":
            self._power = value
            self._board.keep("power", value)
        else:
            self._asked = ON if op == "on" else OFF_ASKED
        return value

    def safe(self) -> None:
        """For a stove that is to let what burns burn out, with its fan."""
        self._asked = OFF_ASKED

    # -- what holds

    def _note(self, now: int) -> None:
        """Brings since_ms up to date."""
        holds = self._holds(now)
        for i in range(len(holds)):
            if not holds[i]:
                self._since_ms[i] = None
            elif self._since_ms[i] is None:
                self._since_ms[i] = now

    def _holds(self, now: int) -> list:
        """In the order of CONDITIONS; what was not measured well holds of no condition but BAD_SENSOR."""
        flue, water, air, door = [self._board.reading(name) for name in SAFETY]
        bad = None in (flue, water, air, door)
        hot = flue is not None and flue >= FLAME_TEMP
        holds = [False] * len(CONDITIONS)
        holds[ALWAYS] = True
        if self._asked is not None:
            holds[self._asked] = True
        holds[BAD_SENSOR] = bad
        holds[DOOR_OPEN] = door == 1
        holds[TOO_HOT] = (flue is not None and flue >= HOTTEST) or (water is not None and water >= WATER_HOTTEST)
        holds[NO_DRAUGHT] = bool(self._fan) and air is not None and air < DRAUGHT_PA
        holds[RUNAWAY] = self._runs_away(now)
        holds[FLAME] = holds[WARM] = hot
        if flue is not None:
            holds[BURNING] = flue >= BURNING_TEMP
            holds[LOST] = flue < LOST_TEMP
            holds[BURNT_OUT] = flue < BURNT_OUT_TEMP
            holds[COLD] = flue < COLD_TEMP
        button = self._board.reading("button")
        if button == 0:
            self._released = True
        holds[RESET] = button == 1 and self._released and door == 0 and not bad and not hot
        return holds

    def _runs_away(self, now: int) -> bool:
        """Whether the auger turns although nobody has driven it for a while: a relay that sticks, a wrong wire."""
        turns = self._board.reading("auger_turns")
        if turns is None:
            return False
        if self._turns is None or self._auger or now - self._driven_ms < IDLE_MS:
            self._turns = turns
        return turns - self._turns >= TURNS

    # -- what follows

    def _enter(self, state: int, cause, now: int) -> None:
        """Flash knows of fire and of lock-outs before they are: a boot goes by that."""
        if cause is not None:
            self.cause = cause
        kept = True
        if state == PURGE:
            kept = self._board.keep(MARK, POWER_CUT)
        elif state == LOCKED:
            self._board.keep(MARK, self.cause)
        elif state == OFF or self.state == LOCKED:
            self._board.keep(MARK, NONE)
        if not kept:
            self._say("stays off, for the flash does not take what it is about to do")
            return
        before, self.state, self._entered_ms = self.state, state, now
        self._released = False
        self._say("was " + STATES[before])

    def _say(self, more: str) -> None:
        why = " (%s)" % CAUSES[self.cause] if self.cause else ""
        self._board.say("stove: %s%s, %s" % (STATES[self.state], why, more))

    def _drive(self, now: int) -> None:
        igniter, fan, feed = DRIVEN[self.state]
        if fan == TILL_COLD:
            cold_ms = self._since_ms[COLD]
            fan = 1 if cold_ms is None or now - max(cold_ms, self._entered_ms) < COLD_MS else 0
        if feed == BY_POWER:
            feed = POWERS[self._level() - 1]
        self._fan = fan
        self._turn(feed, now)
        board = self._board
        board.drive("igniter", igniter)
        board.drive("fan", fan)
        board.drive("auger", self._auger)
        self._tell(feed)

    def _tell(self, feed: int) -> None:
        self._board.tell("state", self.state)
        self._board.tell("cause", self.cause)
        self._board.tell("feed", feed)

    def _level(self) -> int:
        """Power level now: the lowest once the room is warm, and where nobody knows how warm it is."""
        room = self._board.reading("room_temp")
        if room is None:
            self._heat = False
        elif room <= self._set_point - BAND:
            self._heat = True
        elif room >= self._set_point:
            self._heat = False
        return self._power if self._heat else 1

    def _turn(self, feed: int, now: int) -> None:
        """The auger turns for `feed` % of the time, in pieces of TURN_MS, whatever the pace of the steps."""
        if self._auger:
            self._driven_ms = now
        if not feed:
            self._auger = self._owed = 0
            return
        passed_ms = min(now - self._now, STALL_MS)
        self._owed += passed_ms * (feed - (100 if self._auger else 0))
        if self._owed >= TURN_MS * (100 - feed):
            self._auger = 1
        elif self._owed <= 0:
            self._auger = 0
