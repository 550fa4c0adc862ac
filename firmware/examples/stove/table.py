"""The stove's controller as one table: in which state what is driven, and which condition leads where.

Pure data and one function over it; no IO, no clock. Whoever asks says which conditions hold and since when. The page
README.md beside it shows this table, and a test holds the two together.
"""

OFF, PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT, COOL_DOWN, LOCKED = range(8)
STATES = ("off", "purge", "ignite", "flame-up", "run", "burn-out", "cool-down", "locked")

NONE, NO_FLAME, FLAME_LOST, OVERHEAT, DOOR, PRESSURE, SENSOR, AUGER, STILL_HOT, POWER_CUT = range(10)
CAUSES = (
    "none",
    "no ignition",
    "flame lost",
    "too hot",
    "door open",
    "no draught",
    "sensor fails",
    "auger turns by itself",
    "does not cool",
    "power cut",
)

# Conditions, and what must be so for each; temperatures in tenths of a degree, pressure in pascal.
ALWAYS, ON, OFF_ASKED, RESET, BAD_SENSOR, DOOR_OPEN, TOO_HOT, NO_DRAUGHT, RUNAWAY = range(9)
FLAME, BURNING, LOST, BURNT_OUT, COLD, WARM = range(9, 15)
CONDITIONS = (
    "time",
    "asked on",
    "asked off",
    "button at the stove",
    "a sensor is bad",
    "door open",
    "flue >= 280 or water >= 90",
    "fan on and < 12 Pa",
    "auger turns undriven",
    "flue >= 70",
    "flue >= 100",
    "flue < 60",
    "flue < 80",
    "flue < 50",
    "flue >= 70 unasked",
)
HOTTEST, WATER_HOTTEST, DRAUGHT_PA = 2800, 900, 12
FLAME_TEMP, BURNING_TEMP, LOST_TEMP, BURNT_OUT_TEMP, COLD_TEMP = 700, 1000, 600, 800, 500

# State -> igniter, fan (TILL_COLD: until the flue has been cold for five minutes), % of the time that the auger turns.
TILL_COLD, BY_POWER = 2, -1
DRIVEN = (
    (0, 0, 0),  # off
    (0, 1, 0),  # purge: what an earlier try left is blown out
    (1, 1, 30),  # ignite
    (0, 1, 30),  # flame-up
    (0, 1, BY_POWER),  # run
    (0, 1, 0),  # burn-out: what is in the pot burns
    (0, 1, 0),  # cool-down
    (0, TILL_COLD, 0),  # locked
)
POWERS = (18, 24, 30, 36, 42)  # power level 1 to 5 -> % of the time that the auger turns

_FIRE = (IGNITE, FLAME_UP, RUN)
_ACTIVE = (PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT, COOL_DOWN)
_FREE = (OFF, PURGE, IGNITE, FLAME_UP, RUN, BURN_OUT, COOL_DOWN)

# In which states, what must hold, for how many ms in that state, where that leads, and why (None: as it was).
# The first row that fits counts: what is dangerous stands above what is wished.
ROWS = (
    (_FREE, TOO_HOT, 0, LOCKED, OVERHEAT),
    (_FREE, RUNAWAY, 0, LOCKED, AUGER),
    (_ACTIVE, BAD_SENSOR, 5_000, LOCKED, SENSOR),
    (_FIRE, DOOR_OPEN, 2_000, LOCKED, DOOR),
    ((PURGE,), DOOR_OPEN, 2_000, COOL_DOWN, DOOR),
    ((PURGE,), NO_DRAUGHT, 40_000, LOCKED, PRESSURE),
    (_FIRE, NO_DRAUGHT, 10_000, LOCKED, PRESSURE),
    ((PURGE,), OFF_ASKED, 0, COOL_DOWN, None),
    (_FIRE, OFF_ASKED, 0, BURN_OUT, None),
    ((OFF,), ON, 0, PURGE, NONE),
    ((OFF,), WARM, 30_000, COOL_DOWN, None),
    ((PURGE,), ALWAYS, 60_000, IGNITE, None),
    ((IGNITE,), FLAME, 10_000, FLAME_UP, None),
    ((IGNITE,), ALWAYS, 480_000, LOCKED, NO_FLAME),
    ((FLAME_UP,), LOST, 60_000, LOCKED, NO_FLAME),
    ((FLAME_UP,), BURNING, 60_000, RUN, None),
    ((FLAME_UP,), ALWAYS, 600_000, LOCKED, NO_FLAME),
    ((RUN,), LOST, 120_000, LOCKED, FLAME_LOST),
    ((BURN_OUT,), BURNT_OUT, 120_000, COOL_DOWN, None),
    ((BURN_OUT,), ALWAYS, 1_800_000, LOCKED, STILL_HOT),
    ((COOL_DOWN,), COLD, 120_000, OFF, None),
    ((COOL_DOWN,), ALWAYS, 7_200_000, LOCKED, STILL_HOT),
    ((LOCKED,), RESET, 3_000, COOL_DOWN, NONE),
)


def row_for(state: int, entered_ms: int, since_ms: list, now: int):
    """The row of ROWS that fits now, None where the state stays.

    since_ms: for each condition the time since which it holds without a break, None where it does not. A row's time
    counts in its state only: one that begins just before a change of state takes twice as long at most.
    """
    for rule in ROWS:
        since = since_ms[rule[1]]
        if state in rule[0] and since is not None and now - max(since, entered_ms) >= rule[2]:
            return rule
    return None
