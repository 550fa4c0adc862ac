"""When a reading is due, what is a change, what an alarm."""

from meuse_board.schedule import Alarm, changed, next_due


def test_readings_fall_on_multiples_of_the_period():
    assert next_due(0, 1000, 0, None) == 1000
    assert next_due(1000, 1000, 0, 1000) == 2000
    assert next_due(1999, 1000, 0, 1000) == 2000
    assert next_due(7400, 1000, 0, 2000) == 8000


def test_with_utc_known_boards_read_in_step():
    offset = 1_790_000_000_250
    due = next_due(10_000, 60_000, offset, None)
    assert (due + offset) % 60_000 == 0
    assert 10_000 < due <= 70_000


def test_a_corrected_clock_makes_no_double_reading():
    assert next_due(5000, 1000, 0, 5000) == 6000
    assert next_due(5000, 1000, -3, 5000) == 6003
    assert next_due(5000, 1000, 3, 5000) == 5997
    assert next_due(5000, 1000, 600, 5000) == 6400
    assert next_due(5000, 1000, 400, 5000) == 5600


def test_first_value_is_a_change():
    assert changed(None, 5, 10)
    assert changed(None, [-2], 10)


def test_deadband_is_counted_from_what_was_reported():
    assert not changed(100, 110, 10)
    assert changed(100, 111, 10)
    assert changed(100, 89, 10)
    assert changed(100, 101, 0)
    assert not changed(100, 100, 0)


def test_a_value_that_appears_or_vanishes_is_a_change():
    assert changed(100, [-3], 10)
    assert changed([-3], [-1], 10)
    assert changed([-3], 100, 1000)
    assert not changed([-3], [-3], 0)


def test_alarm_goes_on_at_the_threshold_and_off_beyond_the_hysteresis():
    alarm = Alarm(None, 100, 5)
    seen = [(v, alarm.update(v), alarm.on) for v in (99, 100, 101, 96, 95, 94, 99, 100)]
    assert [v for v, turned, _ in seen if turned] == [100, 94, 100]
    assert [on for _, _, on in seen] == [False, True, True, True, True, False, False, True]


def test_low_alarm_mirrors_the_high_one():
    alarm = Alarm(-10, None, 2)
    assert [alarm.update(v) for v in (0, -10, -9, -8, -7)] == [False, True, False, False, True]
    assert not alarm.on


def test_both_thresholds_and_none():
    both = Alarm(0, 10, 0)
    assert [both.update(v) for v in (5, 0, 5, 10, 5)] == [False, True, True, True, True]
    none = Alarm(None, None, 0)
    assert not none.update(1 << 40)
