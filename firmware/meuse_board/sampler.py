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


class Channel:
    """One measured quantity: its settings as the product gives them, its driver, and what is known of it now."""

    def __init__(self, settings: dict, driver):
        self.settings = settings
        self.driver = driver
        self.alarm = Alarm(settings.get("low"), settings.get("high"), settings.get("hysteresis", 0))
        self.value = None  # newest: int, [-q], or None before the first reading
        self.at_ms = 0
        self.answer = None  # the same of the conversion under way
        self.reported = None  # last value that went into a row
        self.ready_ms = 0
        self.wait_ms = 0
        self.rest_ms = 0


class Group:
    """Channels with one schedule; `rows` and what follows belong to the batcher."""

    def __init__(self, settings: dict, channels: list):
        self.settings = settings
        self.channels = channels
        self.period_ms = settings["period_ms"]
        self.tick_ms = settings["tick_ms"]
        self.limit_ms = min(max(self.period_ms, 1000), LIMIT_MS)
        self.due_ms = None
        self.at_ms = 0  # time of the row being collected
        self.started_ms = 0
        self.told_ms = None  # time of the last row handed on
        self.waiting = []  # channels whose driver has not answered
        self.sid = 0
        self.times = []
        self.rows = []
        self.size = 0


class Sampler:
    """`on_row(group, uptime_ms, values, urgent)` gets each row; values are ints or [-q]."""

    def __init__(self, groups: list, clock, on_row):
        self.groups = groups
        self._clock = clock
        self._on_row = on_row
        self.stopping = False
        self.rows = self.errors = self.slow = self.late = 0

    def busy(self) -> bool:
        return any([g.waiting for g in self.groups])

    def step(self, now: int) -> int:
        """Does what is due; returns the uptime at which to call again."""
        wake_ms = now + 1000
        for group in self.groups:
            if not group.waiting:
                if self.stopping:
                    continue
                if group.due_ms is None:
                    group.due_ms = self._next(group, now, None)
                if now >= group.due_ms:
                    self._start(group, now)
            if group.waiting:
                self._collect(group, now)
            for c in group.waiting:
                wake_ms = min(wake_ms, c.ready_ms)
            wake_ms = min(wake_ms, group.due_ms if not group.waiting else wake_ms)
        return wake_ms

    def _next(self, group, now: int, last_ms) -> int:
        return next_due(now, group.period_ms, self._clock.offset_ms or 0, last_ms)

    def _start(self, group, now: int) -> None:
        late = now - group.due_ms
        group.at_ms = group.due_ms if late * 2 < group.tick_ms else now
        self.late += late // group.period_ms
        group.due_ms = self._next(group, now, group.at_ms)
        group.started_ms = now
        for c in group.channels:
            c.answer = NOT_READY if now < c.rest_ms else self._begin(c, now)
        group.waiting = [c for c in group.channels if c.answer is None]
        if not group.waiting:
            self._complete(group)

    def _begin(self, channel, now: int):
        """None while a conversion is under way, else the failure."""
        wait_ms = self._ask(channel, channel.driver.start)
        if not isinstance(wait_ms, int):
            return FAILED
        channel.wait_ms = wait_ms
        channel.ready_ms = self._clock.now() + wait_ms  # after what start() itself took
        return None

    def _collect(self, group, now: int) -> None:
        overdue = now - group.started_ms >= group.limit_ms
        for c in group.waiting:
            if now >= c.ready_ms:
                c.answer = self._ask(c, c.driver.read)
                c.ready_ms = now + max(c.wait_ms, AGAIN_MS)
            if overdue and c.answer is None:
                c.answer = NOT_READY
        group.waiting = [c for c in group.waiting if c.answer is None]
        if not group.waiting:
            self._complete(group)

    def _ask(self, channel, call):
        """What the driver says; one that fails has said so."""
        began = self._clock.now()
        try:
            said = call(began)
        except Exception:
            self.errors += 1
            said = FAILED
        if self._clock.now() - began > SLOW_MS:
            self.slow += 1
            channel.rest_ms = began + REST_MS
        return said

    def _complete(self, group) -> None:
        """Every channel has answered: a row, unless nothing changed in a group that reports changes."""
        at = group.at_ms
        tell = not group.settings.get("on_change")
        if not tell:
            quiet_ms = group.settings.get("quiet_ms", 3_600_000)
            tell = group.told_ms is None or at - group.told_ms >= quiet_ms
        urgent = False
        for c in group.channels:
            c.value = c.answer
            c.at_ms = at
            if isinstance(c.value, int) and c.alarm.update(c.value):
                urgent = tell = True
            if changed(c.reported, c.value, c.settings.get("deadband", 0)):
                tell = True
        if tell:
            group.told_ms = at
            self.rows += 1
            for c in group.channels:
                c.reported = c.value
            self._on_row(group, at, [c.value for c in group.channels], urgent)
