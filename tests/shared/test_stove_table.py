"""The example stove's table, all states and all conditions: no heat where there must be none, and always a way out."""

from examples.stove.table import (
    ALWAYS,
    BAD_SENSOR,
    BURNING,
    BURNT_OUT,
    CAUSES,
    COLD,
    CONDITIONS,
    COOL_DOWN,
    DOOR_OPEN,
    DRIVEN,
    FLAME,
    LOCKED,
    LOST,
    NO_DRAUGHT,
    OFF,
    OFF_ASKED,
    ON,
    PURGE,
    RESET,
    ROWS,
    RUNAWAY,
    STATES,
    TOO_HOT,
    WARM,
    row_for,
)

LONG_MS = 100_000_000
DANGERS = (BAD_SENSOR, DOOR_OPEN, TOO_HOT, NO_DRAUGHT, RUNAWAY)
MEASURED = (FLAME, BURNING, LOST, BURNT_OUT, COLD, WARM)
EVERY = range(len(STATES))
HEATED = [s for s in EVERY if DRIVEN[s][0] or DRIVEN[s][2]]


def since(conditions, at_ms=0):
    return [at_ms if i in conditions else None for i in range(len(CONDITIONS))]


def after(state, conditions, now=LONG_MS):
    """The state in which a stove is then, with these conditions since for ever."""
    row = row_for(state, 0, since(conditions), now)
    return row[3] if row else state


def subsets(of):
    for bits in range(1 << len(of)):
        yield [c for i, c in enumerate(of) if bits >> i & 1]


def test_names_and_numbers_belong_together():
    assert len(DRIVEN) == len(STATES) and len(set(STATES)) == len(STATES)
    for states, condition, held_ms, goal, cause in ROWS:
        assert states and goal not in states and isinstance(held_ms, int)
        assert condition < len(CONDITIONS) and (cause is None or cause < len(CAUSES))
        assert (goal == LOCKED) == (goal == LOCKED and bool(cause)), "a lock-out says why"
    assert HEATED == [STATES.index(s) for s in ("ignite", "flame-up", "run")]
    assert all([DRIVEN[s][1] == 1 for s in EVERY if s not in (OFF, LOCKED)]), "no fire without its air"


def test_every_danger_ends_heat_within_ten_seconds_whatever_else_holds():
    for state in HEATED:
        for danger in DANGERS + (OFF_ASKED,):
            for others in subsets(MEASURED):
                for asked in ((), (ON,), (RESET,)):
                    # At that time no clock has run out: `others` have just begun.
                    held = since([danger, ALWAYS])
                    for c in list(others) + list(asked):
                        held[c] = 10_000
                    row = row_for(state, 0, held, 10_000)
                    assert row and row[3] not in HEATED, (STATES[state], CONDITIONS[danger], others)


def test_no_condition_leads_from_danger_to_heat():
    for state in EVERY:
        for danger in (TOO_HOT, RUNAWAY):
            for others in subsets(MEASURED + (ON, RESET, ALWAYS)):
                goal = after(state, others + [danger])
                assert goal not in HEATED and goal != PURGE, (STATES[state], CONDITIONS[danger], others)


def test_only_the_button_at_the_stove_ends_a_lock_out():
    most = [c for c in range(len(CONDITIONS)) if c != RESET]
    for others in subsets(most):
        assert row_for(LOCKED, 0, since(others), LONG_MS) is None
    assert after(LOCKED, [RESET]) == COOL_DOWN


def test_fire_begins_in_one_place_and_only_when_asked():
    into = [(states, condition, goal) for states, condition, _, goal, _ in ROWS if goal == PURGE]
    assert into == [((OFF,), ON, PURGE)]
    for state in EVERY:
        for others in subsets(MEASURED + (ALWAYS, NO_DRAUGHT, DOOR_OPEN, BAD_SENSOR)):
            if state not in HEATED and state != PURGE:
                assert after(state, others) not in HEATED


def test_every_row_can_be_taken():
    for row in ROWS:
        for state in row[0]:
            assert row_for(state, 0, since([row[1]]), row[2]) is row, (STATES[state], CONDITIONS[row[1]])


def test_a_row_is_taken_at_its_time_and_not_before():
    for row in ROWS:
        for state in row[0]:
            if row[2]:
                assert row_for(state, 0, since([row[1]]), row[2] - 1) is None
                assert row_for(state, 5000, since([row[1]]), row[2] + 4999) is None, "it counts in its state"
                assert row_for(state, 0, since([row[1]], 5000), row[2] + 4999) is None, "and while it holds"


def test_every_state_has_a_way_to_rest_without_anybody():
    """By measured values and time alone; a lock-out is at rest. A run goes on as long as it burns."""
    for state in EVERY:
        if state in (OFF, LOCKED):
            continue
        seen = [state]
        for one in seen:
            for states, condition, _, goal, _ in ROWS:
                if one in states and condition in MEASURED + (ALWAYS,) and goal not in seen:
                    seen.append(goal)
        assert LOCKED in seen or OFF in seen, STATES[state]
        if STATES[state] != "run":
            assert after(state, [ALWAYS]) != state, "it does not wait for ever"
        assert state not in HEATED or after(state, [ALWAYS, LOST]) == LOCKED, "no pellets for ever without a flame"
