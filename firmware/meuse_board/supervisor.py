"""Which of several links carries the stream: the cheapest that works, alarms on what is paid by the byte.

Every link says HELLO, so that a way is known to be good before it is needed; one carries. A link whose records see no
answer is left, and greets again, ever more rarely, until the host answers. It is taken back when it has been good for a
while: longer after each failure, so that a bad link does not make the stream flap.

Owns the choice and its reason; refuses to know how a link works, what a record says and which time it is.
"""

from meuse_protocol.messages import BLOB
from meuse_protocol.outbox import NOTHING
from meuse_protocol.states import GREETING, HELD, READY

LOG_TEXT = 2  # BLOB subject: what may interest a person
SILENT_MS = 2000  # without an answer, while another link gives some
HOLD_MS = 3000  # a better link is taken back when it has been good for so long, ...
HOLD_MAX_MS = 300_000  # ... twice as long after each failure
GOOD_MS = 600_000  # a link that carried for so long has no failures any more
WORDS = ("nothing", "alarms", "all")
GOOD, GREETS, BAD = range(3)  # how a link is, best first


HEALTH = ("good", "waits for the host's greeting", "not usable")


class Lane:
    """A link with its runner. `carries`: at most what; `allowance`: Allowance, or None where bytes cost nothing."""

    def __init__(self, runner, carries: int, cost: int, allowance):
        self.runner = runner
        self.carries = carries
        self.cost = cost
        self.allowance = allowance
        self.hold_ms = HOLD_MS
        self.good_ms = None  # since when the host has been answering
        self.suspect = False  # it failed, and the host has not answered since
        self.carried_ms = 0  # since when it carries

    @property
    def name(self) -> str:
        return self.runner.link.name

    def health(self, now: int) -> int:
        endpoint, link = self.runner.endpoint, self.runner.link
        if not link.up or (self.allowance and self.allowance.left() <= 0):
            self.good_ms = None
            return BAD
        if endpoint.state == READY or endpoint.state == HELD:
            if self.good_ms is None:
                self.good_ms = now
                self.suspect = False
            return GOOD
        self.good_ms = None
        return GREETS if endpoint.state == GREETING and not self.suspect else BAD


class Supervisor:
    """`lanes` in the order of the settings; app.append takes the record of each change, and why."""

    def __init__(self, lanes: list, app):
        self._lanes = lanes
        self._app = app
        self.current = None
        self.reason = "no link is up"
        for lane in lanes:
            lane.runner.endpoint.carry(NOTHING, 0)

    def step(self, now: int) -> bool:
        """To be called after the links moved: looks at all of them -> whether the choice has changed."""
        before = self.current
        self._look(now)
        return self.current is not before

    def lines(self, now: int):
        """For a person: what each link carries, and at what cost."""
        for lane in self._lanes:
            carried = WORDS[lane.carries] if lane is self.current else "nothing"
            text = "         %s: carries %s, %s" % (lane.name, carried, HEALTH[lane.health(now)])
            if lane.allowance:
                text += ", %d of %d kB this month" % lane.allowance.kilobytes()
            yield text
        if self.reason:
            yield "PROBLEM  " + self.reason

    def _look(self, now: int) -> None:
        current = self.current
        best = min(self._lanes, key=lambda lane: (lane.health(now), lane.cost))
        if best.health(now) == BAD:
            best = None
        if current is None or current.health(now) == BAD:
            if current:
                self._failed(current, now, "is gone" if not current.runner.link.up else "gives no answer")
            if best and best is not current:
                self._choose(best, now, "the cheapest that works" if best.health(now) == GOOD else "it is up")
        elif current.runner.endpoint.silent_ms(now) >= SILENT_MS and self._other(current, now):
            self._failed(current, now, "gives no answer")
        elif best is not current and self._better(best, current, now):
            self._choose(best, now, "cheaper, and good for %d s" % ((now - best.good_ms) // 1000))
        elif now - current.carried_ms > GOOD_MS:
            current.hold_ms = HOLD_MS

    def _better(self, best: Lane, current: Lane, now: int) -> bool:
        """Worth a change while the current one works; from one that only greets at once."""
        if best.health(now) != GOOD:
            return False
        if current.health(now) != GOOD:
            return now - current.carried_ms >= HOLD_MS
        return now - best.good_ms >= best.hold_ms

    def _other(self, current: Lane, now: int):
        """Is there a link that answers?"""
        return [lane for lane in self._lanes if lane is not current and lane.health(now) == GOOD]

    def _failed(self, lane: Lane, now: int, why: str) -> None:
        """It carries no more, and begins anew: what it says next is heard from the host, or it is not good."""
        lane.hold_ms = min(lane.hold_ms * 2, HOLD_MAX_MS)
        lane.good_ms = None
        lane.suspect = True
        runner = lane.runner
        runner.endpoint.carry(NOTHING, now)
        runner.endpoint.link_down(now)
        if runner.link.up:
            runner.link.doubt(now)
        self.current = None
        self.reason = "%s %s" % (lane.name, why)

    def _choose(self, lane: Lane, now: int, why: str) -> None:
        before = self.current
        if before:
            before.runner.endpoint.carry(NOTHING, now)
        if before is None and self.reason:
            why += "; " + self.reason
        lane.runner.endpoint.carry(lane.carries, now)
        lane.carried_ms = now
        self.current = lane
        self.reason = ""
        text = "%s carries %s: %s" % (lane.name, WORDS[lane.carries], why)
        self._app.append(BLOB, (LOG_TEXT, None, text.encode()))
