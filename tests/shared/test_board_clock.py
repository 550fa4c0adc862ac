"""The board's clock: an uptime that never wraps, UTC that may come late and step."""

from meuse_board.clock import Clock

PERIOD = 1 << 30  # MicroPython's ticks_ms wraps here


class Ticks:
    """A counter as a board has it: 30 bits."""

    def __init__(self, at):
        self.at = at

    def ms(self):
        return self.at % PERIOD

    def diff(self, a, b):
        return (a - b + PERIOD // 2) % PERIOD - PERIOD // 2


def clock_at(at, boot=1):
    ticks = Ticks(at)
    return ticks, Clock(ticks.ms, ticks.diff, boot)


def test_uptime_goes_on_where_ticks_wrap():
    ticks, clock = clock_at(PERIOD - 5)
    seen = []
    for _ in range(4):
        seen.append(clock.now())
        ticks.at += 3
    assert seen == [0, 3, 6, 9]


def test_uptime_counts_on_for_months():
    ticks, clock = clock_at(123)
    day_ms = 86_400_000
    for _ in range(100):
        ticks.at += day_ms
        clock.now()
    assert clock.now() == 100 * day_ms


def test_uptime_never_goes_back():
    ticks, clock = clock_at(1000)
    ticks.at += 50
    assert clock.now() == 50
    ticks.at -= 20
    assert clock.now() == 50
    ticks.at += 21
    assert clock.now() == 51


def test_utc_is_unknown_until_told_and_may_step():
    _, clock = clock_at(0)
    assert clock.utc_ms(5000) is None
    clock.sync(1_790_000_000_123, 40)
    assert clock.utc_ms(5000) == 1_790_000_005_123
    clock.sync(1_789_999_000_000, 4)
    assert clock.utc_ms(5000) == 1_789_999_005_000


def test_ticks_of_rows_count_from_the_boot_then_from_1970():
    _, clock = clock_at(0)
    assert clock.ticks([1000, 2004, 2996], 1000) == [1, 2, 3]
    assert clock.ticks([10, 25], 10) == [1, 3]
    clock.sync(1_790_000_000_499, 5)
    assert clock.ticks([1501, 2501], 1000) == [1_790_000_002, 1_790_000_003]
