"""When channels are read: drives their drivers without waiting for any, and hands complete rows on.

Refuses to know what a driver talks to, what happens to a row and what UTC is (it is given an offset to align to).
A group is what the product calls a schedule: channels read together, one schema, one row.
"""

from .schedule import Alarm, changed, next_due

NOT_READY = [-5]
FAILED = [-2]
AGAIN_MS = 5  # between two questions to a driver that said "not ready"
LIMIT_MS = 10_000  # no conversion of a supported sensor takes longer
SLOW_MS = 250  # a driver's call that takes longer delays everything else ...
REST_MS = 60_000  # ... so its channel rests and is reported "not ready"


class Group:
    """Settings as the product gives them, a driver for each channel, and what is known now, by channel.

    sid, rows, times and size are the batcher's.
    """

    def __init__(self, settings: dict, drivers: list):
        self.settings = settings
        self.drivers = drivers
        self.values = self.told = [None] * len(drivers)  # newest and last handed on: int, [-q], None before the first
        self.at_ms = self.told_ms = 0  # uptimes of these
        self.alarms = {}
        for i, c in enumerate(settings["channels"]):
            if c.get("low") is not None or c.get("high") is not None:
                self.alarms[i] = Alarm(c.get("low"), c.get("high"), c.get("hysteresis", 0))
        self.row = None  # being collected: None in it where a driver has not answered
        self.row_ms = self.began_ms = 0
        self.due_ms = None
        self.ready = [0] * len(drivers)  # uptime of the next question
        self.resting = {}
        self.sid = self.size = 0
        self.rows, self.times = [], []


class Sampler:
    """`on_row(group, uptime_ms, values, urgent)`, set by whoever makes it, gets each row; values are ints or [-q]."""

    def __init__(self, clock, on_row=None):
        self.groups = []
        self._clock = clock
        self.on_row = on_row
        self.stopping = False
        self.grace_ms = 0  # more for every limit of time: a simulated sensor may be starved of its processor
        self.errors = self.slow = 0

    def busy(self) -> bool:
        return any([g.row for g in self.groups])

    def step(self, now: int) -> int:
        """Does what is due; returns the uptime at which to call again."""
        wake_ms = now + 1000
        for group in self.groups:
            if not group.row and not self.stopping:
                if group.due_ms is None:
                    group.due_ms = self._next(group, now, None)
                if now >= group.due_ms:
                    self._start(group, now)
                wake_ms = min(wake_ms, group.due_ms)
            if group.row:
                wake_ms = min(wake_ms, self._collect(group, now))
        return wake_ms

    def _next(self, group, now: int, last_ms) -> int:
        return next_due(now, group.settings["period_ms"], self._clock.offset_ms or 0, last_ms)

    def _start(self, group, now: int) -> None:
        late_ms = now - group.due_ms
        group.row_ms = group.due_ms if late_ms * 2 < group.settings["tick_ms"] else now
        group.due_ms = self._next(group, now, group.row_ms)
        group.began_ms = now
        group.row = [None] * len(group.drivers)
        for i, driver in enumerate(group.drivers):
            if now < group.resting.get(i, 0):
                group.row[i] = NOT_READY
                continue
            wait_ms = self._ask(group, i, driver.start)
            if isinstance(wait_ms, int):
                group.ready[i] = now + wait_ms
            else:
                group.row[i] = FAILED

    def _collect(self, group, now: int) -> int:
        """Asks those who should have an answer; returns when to ask again."""
        overdue = now - group.began_ms >= min(max(group.settings["period_ms"], 1000), LIMIT_MS) + self.grace_ms
        wake_ms = now + LIMIT_MS
        row = group.row
        for i, driver in enumerate(group.drivers):
            if row[i] is None and now >= group.ready[i]:
                row[i] = self._ask(group, i, driver.read)
                group.ready[i] = now + AGAIN_MS
            if row[i] is None:
                if overdue:
                    row[i] = NOT_READY
                wake_ms = min(wake_ms, group.ready[i])
        if None not in row:
            self._complete(group)
            return group.due_ms
        return wake_ms

    def _ask(self, group, i: int, call):
        """What the driver says; one that fails has said so."""
        began = self._clock.now()
        try:
            said = call(began)
        except Exception:
            self.errors += 1
            said = FAILED
        if self._clock.now() - began > SLOW_MS + self.grace_ms:
            self.slow += 1
            group.resting[i] = began + REST_MS
        return said

    def _complete(self, group) -> None:
        """Every channel has answered: a row, unless nothing changed in a group that reports changes."""
        settings = group.settings
        group.values, group.row, group.at_ms = group.row, None, group.row_ms
        tell = not settings.get("on_change") or group.at_ms - group.told_ms >= settings.get("quiet_ms", 3_600_000)
        urgent = False
        for i, alarm in group.alarms.items():
            value = group.values[i]
            if isinstance(value, int) and alarm.update(value):
                urgent = True
        for i, c in enumerate(settings["channels"]):
            if changed(group.told[i], group.values[i], c.get("deadband", 0)):
                tell = True
        if tell or urgent:
            group.told, group.told_ms = group.values, group.at_ms
            self.on_row(group, group.at_ms, group.values, urgent)
