"""Other boards' records, passed on unchanged: up from the links that carry for others, down to where each board is.

Owns who was heard where, what waits for the way up, and the bounds on all of it. Refuses to know what a packet says,
and whether it is true: MACs stay the origin's own, and an origin forgets a record only when the host's ACK has come all
the way down. So nothing here needs to survive a reset: what is lost here is sent again.

Nothing goes round: up goes only what boards send and came from below, down only what hosts send and came from above;
our own stream from below is dropped, and so is a packet that was here a moment ago. Upward is the link that our own
records take, and only while the host answers there: a ring of relays with no host in it passes nothing on.
"""

from array import array
from binascii import crc32

from meuse_protocol.errors import RemoteError
from meuse_protocol.messages import (
    ACK,
    BLOB,
    FRAG,
    FRAG0,
    HELLO,
    NEED,
    NEED_HELLO,
    RELAYS,
    head,
    is_record,
    record,
    splice,
)
from meuse_protocol.outbox import ALL
from meuse_protocol.shared_endpoint import SharedEndpoint
from meuse_protocol.states import DOWN, READY

BUFFER_BYTES = 4096  # of what waits for the way up
RATE_BYTES = 4000  # a second, of each board
BURST_BYTES = 4096
ORIGINS_MAX = 32  # boards known at once
FORGOTTEN_MS = 60_000  # a board silent for so long makes way for a new one
SEEN = 64  # packets remembered
AGAIN_MS = 900  # within it the same packet from the same side is an echo, and a repetition would help nobody
ROUND_MS = 10_000  # from another side it has gone round: longer than a way without a host passes for good
DOWN_MAX = 16  # packets that wait for one link downward
DEAF_MS = 5000  # nothing comes from above for so long, though something went up
CALL_MS = 5000  # "who is there?", downward, at most
OWED_MS = 30_000  # a board that has had no answer for so long is asked: over several lossy links its own probes,
# ever rarer, would hardly ever come through all of them and back
TELL_MS = 600_000
LOG_TEXT = 2  # BLOB subject: what may interest a person


class Origin:
    """A board that was heard: its stream, the link it is behind, and what it may still send now."""

    def __init__(self, stream: int, lower, now: int):
        self.stream = stream
        self.lower = lower
        self.heard_ms = self.filled_ms = now
        self.credit = BURST_BYTES
        self.owed_ms = None  # since when it waits for an answer
        self.waiting = []
        self.bytes = 0

    def may(self, rate: int, now: int) -> bool:
        """Whether its next packet may go now; what it sent beyond that is paid back first."""
        self.credit = min(BURST_BYTES, self.credit + (now - self.filled_ms) * rate // 1000)
        self.filled_ms = now
        return self.credit > 0

    def take(self, i: int) -> bytes:
        e2e = self.waiting.pop(i)
        self.bytes -= len(e2e)
        return e2e


class Relay:
    """`rate_bytes`: a second, of each board; `buffer_bytes`: of all that waits. None: the usual."""

    def __init__(self, app, buffer_bytes, rate_bytes):
        self.counters = {}
        self.passed_up = self.passed_down = self.dropped = 0
        self._app = app
        self._own = app.log.stream
        self._room = buffer_bytes or BUFFER_BYTES
        self._rate = rate_bytes or RATE_BYTES
        self._uppers = []
        self._lowers = []
        self._origins = []  # in the order of their turns
        self._crcs = array("I", [0] * SEEN)
        self._sides = array("I", [0] * SEEN)
        self._times = array("I", [0] * SEEN)
        self._at = 0
        self._was_open = False
        self._told = 0
        self._tell_ms = self._call_ms = 0

    # -- wiring

    def upward(self, endpoint) -> None:
        endpoint.relay = self
        self._uppers.append(endpoint)

    def downward(self, runner) -> None:
        """Whoever speaks on this link speaks through us; nobody types there."""
        link = runner.link
        runner.endpoint = lower = Lower(self, link.mtu)
        self._lowers.append(lower)
        link.console = _nobody
        link.words = lambda: self.words(lower, link)

    # -- what comes

    def up(self, lower, e2e: bytes, now: int) -> None:
        """A packet from below."""
        try:
            kind, stream, _ = head(e2e)
        except RemoteError:
            return self.drop("malformed")
        if stream < 128 and kind < ACK:
            stream, e2e = self._named(lower, e2e)
            if not stream:
                lower.call(now)  # then it says the whole name
                return self.drop("nameless")
        if kind >= ACK:
            return self.drop("wrong way")
        if stream == self._own:
            return self.drop("our own")
        if self._seen(lower, e2e, now):
            return self.drop("repeated")
        origin = self._origin(stream, lower, now)
        if origin is None:
            return self.drop("crowded")
        self._keep(origin, kind, e2e)
        return None

    def down(self, e2e: bytes) -> bool:
        """A packet from above -> False: it is for this board."""
        try:
            kind, stream, _ = head(e2e)
        except RemoteError:
            return False
        if stream == self._own or stream < 128:
            return False
        if kind < ACK:
            self.drop("wrong way")
            return True
        for origin in self._origins:
            if origin.stream == stream:
                origin.owed_ms = None
                if origin.lower.put(e2e, kind):
                    self.passed_down += 1
                break
        else:
            self.drop("nowhere")
        return True

    # -- what goes

    def is_open(self) -> bool:
        """Whether a host answers on the way that our own records take."""
        for upper in self._uppers:
            if upper.carries():
                return True
        return False

    def look(self, now: int) -> None:
        """When the way up opens, who is below is asked to speak: some fell silent, and the host may be another."""
        for upper in self._uppers:
            upper.doubt(now)
        was_open, self._was_open = self._was_open, self.is_open()
        if not self._was_open:
            return
        if not was_open:
            for lower in self._lowers:
                lower.call(now)
            self._tell(now)
        for origin in self._origins:
            if origin.owed_ms is not None and now - origin.owed_ms >= OWED_MS:
                origin.owed_ms = now
                origin.lower.put(splice(record(NEED, NEED_HELLO), origin.stream), NEED)

    def next(self, mtu: int, now: int):
        """The next packet for the way up, None when there is none: boards take turns."""
        for i in range(len(self._origins)):
            origin = self._origins[i]
            while origin.waiting and origin.may(self._rate, now):
                e2e = origin.take(0)
                if len(e2e) > mtu:
                    self.drop("too large")
                    continue
                origin.credit -= len(e2e)
                if origin.owed_ms is None:
                    origin.owed_ms = now
                self._origins.pop(i)
                self._origins.append(origin)
                self.passed_up += 1
                return e2e
        return None

    # -- for people

    def words(self, lower, link) -> str:
        """How one link downward stands, and what was dropped."""
        boards = len([1 for origin in self._origins if origin.lower is lower])
        return "%s, carries for %d boards; %s" % ("up" if link.up else "DOWN", boards, self._counts())

    def _counts(self) -> str:
        waiting = sum([len(origin.waiting) for origin in self._origins])
        text = "%d up, %d down, %d wait, %d dropped" % (self.passed_up, self.passed_down, waiting, self.dropped)
        if self.counters:
            text += ": " + ", ".join(["%s %d" % (why, self.counters[why]) for why in sorted(self.counters)])
        return text

    def _tell(self, now: int) -> None:
        """A text in the log when the way is open again and something was dropped; not often."""
        if self.dropped != self._told and now >= self._tell_ms:
            self._tell_ms = now + TELL_MS
            self._told = self.dropped
            self._app.append(BLOB, (LOG_TEXT, None, ("relay: " + self._counts()).encode()))

    # -- inside

    def drop(self, why: str) -> None:
        self.dropped += 1
        self.counters[why] = self.counters.get(why, 0) + 1

    def _named(self, lower, e2e: bytes):
        """(full stream id, the packet with it) of one under a short name; (0, None) when it may be anybody's."""
        behind = [origin.stream for origin in self._origins if origin.lower is lower]
        if len(behind) != 1:
            return 0, None
        at = 2 if e2e[0] < 0xA0 else 4
        return behind[0], splice(e2e[:at] + e2e[at + 1 :], behind[0])

    def _origin(self, stream: int, lower, now: int):
        """Who speaks; the one silent for longest makes way for a new one, if it has been silent for long."""
        for origin in self._origins:
            if origin.stream == stream:
                origin.lower = lower
                origin.heard_ms = now
                return origin
        if len(self._origins) >= ORIGINS_MAX:
            oldest = min(self._origins, key=lambda origin: origin.heard_ms)
            if now - oldest.heard_ms < FORGOTTEN_MS:
                return None
            for _ in oldest.waiting:
                self.drop("no room")
            self._origins.remove(oldest)
        self._origins.append(Origin(stream, lower, now))
        return self._origins[-1]

    def _seen(self, lower, e2e: bytes, now: int) -> bool:
        """Whether this very packet came a moment ago. In vain again it would only be stored twice on its way."""
        crc, side, now = crc32(e2e), self._lowers.index(lower), now & 0x3FFFFFFF
        for i in range(SEEN):
            if self._crcs[i] == crc:
                age_ms = (now - self._times[i]) & 0x3FFFFFFF
                if age_ms < (AGAIN_MS if self._sides[i] == side else ROUND_MS):
                    return True
        self._crcs[self._at], self._sides[self._at], self._times[self._at] = crc, side, now
        self._at = (self._at + 1) % SEEN
        return False

    def _keep(self, origin, kind: int, e2e: bytes) -> None:
        """It waits for its turn. While no host answers, only what helps later is kept."""
        stored = is_record(kind) or kind == FRAG or kind == FRAG0
        if not stored and not self.is_open():
            if kind != HELLO:
                return self.drop("no host")
            for i in range(len(origin.waiting)):
                if origin.waiting[i][1] == HELLO:
                    origin.take(i)
                    break
        if e2e in origin.waiting:
            return self.drop("repeated")
        origin.waiting.append(e2e)
        origin.bytes += len(e2e)
        while sum([each.bytes for each in self._origins]) > self._room:
            self._make_room()
        return None

    def _make_room(self) -> None:
        """Whoever has most waiting loses its oldest record: it sends it again, and a babbler hurts itself."""
        most = max(self._origins, key=lambda origin: origin.bytes)
        for i in range(len(most.waiting)):
            if most.waiting[i][1] != HELLO:
                break
        else:
            i = 0
        most.take(i)
        self.drop("no room")


class Upper(SharedEndpoint):
    """This board's own endpoint on a link upward, which the others' packets pass by."""

    features = RELAYS
    relay = None

    def _reset(self, now: int, mtu: int, nonce: int, ordered: bool) -> None:
        super()._reset(now, mtu, nonce, ordered)
        self._others = False  # whose turn it is
        self._unheard_ms = None  # since when others' packets have gone up there without anything coming down
        self._deaf = False

    def carries(self) -> bool:
        return self.state == READY and self._carried == ALL and not self._deaf

    def doubt(self, now: int) -> None:
        """Whoever has nothing of its own to send would not notice that nobody is there: then it asks."""
        if self._unheard_ms is not None and now - self._unheard_ms >= DEAF_MS:
            self._unheard_ms = now
            self._deaf = True
            self.ping(now)

    def receive(self, e2e: bytes, now: int) -> None:
        self._unheard_ms = None
        self._deaf = False
        if not self.relay.down(e2e):
            super().receive(e2e, now)

    def next_pdu(self, now: int):
        self.relay.look(now)
        if not self.carries():
            return super().next_pdu(now)
        self._others = not self._others
        e2e = super().next_pdu(now) if self._others else None
        if e2e is None:
            e2e = self.relay.next(self._mtu, now)
            if e2e and self._unheard_ms is None:
                self._unheard_ms = now
        return e2e or super().next_pdu(now)


class Lower:
    """Stands where a runner expects an endpoint, on a link downward."""

    def __init__(self, relay, mtu: int):
        self.state = DOWN
        self._relay = relay
        self._mtu = mtu
        self._queue = []
        self._call_ms = -CALL_MS
        self._fresh = None  # when something came that may go up in the same moment

    def link_up(self, now: int, mtu: int, nonce: int, ordered: bool) -> None:
        self.state = READY

    def link_down(self, now: int) -> None:
        self.state = DOWN
        self._queue = []

    def receive(self, e2e: bytes, now: int) -> None:
        self._fresh = now
        try:
            self._relay.up(self, e2e, now)
        except MemoryError:
            self._relay.drop("no memory")

    def next_pdu(self, now: int):
        self._relay.look(now)
        return self._queue.pop(0) if self._queue else None

    def deadline(self):
        due_ms, self._fresh = self._fresh, None
        return due_ms

    def next_event(self):
        return None

    def record_added(self, seq: int, urgent: bool) -> None:
        pass

    def call(self, now: int) -> None:
        """"Who is there?": whoever is below says HELLO."""
        if self.state != DOWN and now - self._call_ms >= CALL_MS:
            self._call_ms = now
            self._queue.append(splice(record(NEED, NEED_HELLO), 0))

    def put(self, e2e: bytes, kind: int) -> bool:
        """A packet for a board below; a newer ACK says all that an older one says."""
        if len(e2e) > self._mtu:
            self._relay.drop("too large")
            return False
        queue = self._queue
        if kind == ACK:
            for i in range(len(queue)):
                if queue[i][1] == ACK and queue[i][2:7] == e2e[2:7]:
                    queue[i] = e2e
                    return True
        if len(queue) >= DOWN_MAX:
            queue.pop(0)
            self._relay.drop("no room downward")
        queue.append(e2e)
        return True


def _nobody(link, line: bytes, typing: bool):
    """What a board writes before its frames begin is no command."""
    return None
