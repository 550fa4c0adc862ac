"""The sampler: reads on schedule, waits for nobody, tells what failed and why."""

from meuse_board.sampler import REST_MS, Group, Sampler


class Clock:
    def __init__(self):
        self.at = 0
        self.offset_ms = None

    def now(self):
        return self.at


class Sensor:
    """A driver whose answers are listed; the last one stays. An answer that is text is raised."""

    def __init__(self, *answers, wait_ms=0, clock=None, takes_ms=0):
        self.answers = list(answers)
        self.wait_ms = wait_ms
        self.clock = clock
        self.takes_ms = takes_ms
        self.starts = 0

    def start(self, now):
        self.starts += 1
        return self.wait_ms

    def read(self, now):
        if self.clock:
            self.clock.at += self.takes_ms
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise OSError(answer)
        return answer


class Bench:
    def __init__(self):
        self.clock = Clock()
        self.rows = []
        self.sampler = Sampler(self.clock, self.on_row)

    def group(self, sensors, period_ms=1000, channel=None, **settings):
        settings["name"] = "g%d" % len(self.sampler.groups)
        settings["period_ms"] = period_ms
        settings["tick_ms"] = min(period_ms, 1000)
        settings["channels"] = [dict(channel or {}, name="c%d" % i) for i in range(len(sensors))]
        group = Group(settings, sensors)
        self.sampler.groups.append(group)
        return group

    def on_row(self, group, at_ms, row, urgent):
        self.rows.append((group.settings["name"], at_ms, row, urgent))

    def run(self, until_ms):
        """As the main loop does: sleeps exactly until the sampler wants to be called."""
        while True:
            wake_ms = self.sampler.step(self.clock.at)
            if wake_ms > until_ms:
                self.clock.at = until_ms
                return
            self.clock.at = max(wake_ms, self.clock.at + 1)


def test_rows_come_every_period_with_the_time_of_the_schedule():
    b = Bench()
    b.group([Sensor(1), Sensor(2)])
    b.run(3500)
    assert b.rows == [("g0", t, [1, 2], False) for t in (1000, 2000, 3000)]


def test_a_conversion_is_waited_for_without_holding_up_others():
    b = Bench()
    b.group([Sensor(7, wait_ms=750)])
    b.group([Sensor(1)], period_ms=100)
    b.run(2000)
    assert [r[1:3] for r in b.rows if r[0] == "g0"] == [(1000, [7])]
    assert [r[1] for r in b.rows if r[0] == "g1"] == list(range(100, 2001, 100))


def test_a_busy_converter_is_asked_again():
    b = Bench()
    sensor = Sensor(None, None, 42)
    b.group([sensor])
    b.run(1100)
    assert b.rows == [("g0", 1000, [42], False)]
    assert sensor.starts == 1


def test_a_stuck_driver_costs_its_own_value_only():
    b = Bench()
    b.group([Sensor(None), Sensor(5)], period_ms=2000)
    b.group([Sensor(1)], period_ms=500)
    b.run(4500)
    assert b.rows[-1][0] == "g1"
    assert ("g0", 2000, [[-5], 5], False) in b.rows
    assert len([r for r in b.rows if r[0] == "g1"]) == 9


def test_a_failing_read_is_a_reason_not_a_value():
    b = Bench()
    b.group([Sensor("bus"), Sensor([-1]), Sensor(3)])
    b.run(1000)
    assert b.rows == [("g0", 1000, [[-2], [-1], 3], False)]
    assert b.sampler.errors == 1


def test_a_slow_driver_rests():
    b = Bench()
    slow = Sensor(9, clock=b.clock, takes_ms=400)
    b.group([slow, Sensor(1)])
    b.run(REST_MS)
    assert b.sampler.slow == 1
    assert b.rows[0][2] == [9, 1]
    assert b.rows[1][2] == [[-5], 1]
    b.run(REST_MS + 3000)
    assert slow.starts == 2


def test_reports_changes_beyond_the_deadband_and_a_sign_of_life():
    b = Bench()
    sensor = Sensor(10, 11, 12, 13, 13)
    b.group([sensor], period_ms=100, channel={"deadband": 2}, on_change=True, quiet_ms=1000)
    b.run(2000)
    assert [r[1:3] for r in b.rows] == [(100, [10]), (400, [13]), (1400, [13])]


def test_an_alarm_is_urgent_and_so_is_its_end():
    b = Bench()
    b.group([Sensor(50, 100, 99, 94, 94)], channel={"high": 100, "hysteresis": 5})
    b.run(5500)
    assert [r[3] for r in b.rows] == [False, True, False, True, False]


def test_stopping_finishes_what_was_begun():
    b = Bench()
    b.group([Sensor(7, wait_ms=200)])
    b.run(1100)
    b.sampler.stopping = True
    assert b.sampler.busy()
    b.run(5000)
    assert not b.sampler.busy()
    assert b.rows == [("g0", 1000, [7], False)]


def test_a_row_after_a_stall_is_stamped_as_it_was():
    b = Bench()
    b.group([Sensor(1)])
    b.run(1500)
    b.clock.at = 5700
    b.sampler.step(5700)
    assert b.rows[-1][1] == 5700
    b.run(8000)
    assert [r[1] for r in b.rows] == [1000, 5700, 7000, 8000]


def test_a_simulated_sensor_is_given_its_grace():
    for grace_ms, told in ((0, [[-5], [-5]]), (10_000, [7, 7])):
        bench = Bench()
        bench.sampler.grace_ms = grace_ms
        slow = Sensor(7, clock=bench.clock, takes_ms=300)
        late = Sensor(*[None] * 400, 7)
        bench.group([slow, late], 1000)
        bench.run(9_000)
        assert bench.rows[1][2] == told, bench.rows
