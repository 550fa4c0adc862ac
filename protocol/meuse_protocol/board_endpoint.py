"""The board's end of one link: what to send next, and what received packets mean. No IO, no clock.

Owns the link's state (states.BOARD) and its timers. Refuses to know how records are made or kept
(`log`), in what order they go (outbox), what a command does and how bytes travel. The log belongs
to the stream and outlives every link.

    board = BoardEndpoint("stove-1", log.stream, psk, log)
    board.link_up(now_ms, mtu, nonce)          # nonce: 32 random bits, others for every link_up
    board.receive(e2e, now_ms)                 # one packet: PDU and MAC, out of its frame
    while (event := board.next_event()):       # Welcomed, Acked, Time; reactions.py: others
        ...
    while room and (e2e := board.next_pdu(now_ms)):
        send(e2e)                              # pull no more than the wire takes now
    wake at board.deadline()                   # ms; None: nothing happens without input
    board.record_added(seq, urgent=False)      # after log.append
    board.link_down(now_ms)                    # what was in flight counts as unsent

`now_ms` is an uptime that never goes back. Received bytes never raise: bad ones go to `counters`.
"""

from collections import namedtuple

from . import messages, states
from .auth import UP, direction_keys, mac
from .errors import LocalError, RemoteError
from .messages import HELLO, NEED, NEED_HELLO, PING, TIMEQ, VERSION, record, splice
from .outbox import ALL, Outbox
from .ranges import SEQ_MAX, Ranges
from .seal import BAD_MAC, UNSIGNED, opened
from .timesync import TimeSync
from .window import PAIRS_MAX, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Aes, Any, Log

WINDOW_FIRST = 8  # before WELCOME: fills a slow link, and is little to lose to a stranger
HELLO_BYTES = 56  # without device and schemas, its MAC included: at most
SCHEMA_BYTES = 8
FULL_ACK_BYTES = 200  # on a link with a smaller MTU an ACK may leave ranges out
SCAN_MAX = 64  # records tried in the log per call: a whole reserved block
EVENTS_MAX = 16
SECOND_MS = 1000
SILENCE_MS = 10000  # at least, and three timeouts
FORGED_EACH_MS = 100
FORGED_BURST_MS = 1000  # more than ten within it, and nothing is read for MUTE_MS
MUTE_MS = 10000
PROBE_MS = 5000  # first pause between two PINGs; all pauses double
PROBE_HELD_MAX_MS = 30000  # the host tells by itself when it takes more: this is for a lost ACK
TIME_BURST = 4  # exchanges after a WELCOME, a second apart: the best of them counts
TIME_RETRY_MS = 5000
TIME_MS = 900000  # a crystal drifts 45 ms in it at 50 ppm
HELLO_MAX_MS = 60000  # also the pause while refused
PROBE_QUIET_MAX_MS = 300000

Welcomed = namedtuple("Welcomed", ("version", "cum", "window"))
Acked = namedtuple("Acked", ("cum", "count"))  # all below cum is durable; so many were news
Time = namedtuple("Time", ("offset_ms", "err_ms", "anchor"))  # anchor: body of an ANCHOR, or None


class BoardEndpoint:
    """One stream on one link. psk: the device's 32 secret bytes; None on a link the host trusts.

    window: most records in flight. mac_bytes: a property of the link (8; 4 where it has its own).
    aes: makes a cipher of a key: this link's records go sealed.
    `state`: one of states.DOWN and its fellows. `schemas`: [[sid, first 4 bytes of the schema's
    hash]] for HELLO; the application keeps it. `features`: what HELLO says this board can.
    """

    features = 0

    def __init__(
        self,
        device: str,
        stream: int,
        psk: "bytes | None",
        log: "Log",
        window: int = 32,
        mac_bytes: int = 8,
        aes: "Aes | None" = None,
    ) -> None:
        self.device = device
        self.stream = stream
        self.schemas: list[list[object]] = []
        self.counters: dict[str, int] = {}
        self.time = TimeSync()
        self.state = states.DOWN
        self._keys = direction_keys(psk, stream) if psk else None
        self._mac_bytes = mac_bytes if psk else 0
        self._hide: Any = None
        if aes:
            from .sealing import hiding

            self._hide = hiding(psk, stream, aes)
        self._log = log
        self._carried = ALL
        self._stored = Ranges()
        self._limit = window
        self._outbox = Outbox(log)
        self._events: list[Any] = []
        self._parts: Any = None  # fragments.Fragments, once a record is too long for the link
        self._token: int | None = None
        self._asked = self._asked_ms = self._need_ms = self._forged_ms = self._muted_ms = 0
        self._reset(0, 0, 0, True)

    def _reset(self, now_ms: int, mtu: int, nonce: int, ordered: bool) -> None:
        """What belongs to one connection only."""
        self._mtu = mtu
        self._nonce = nonce
        self._short = self.stream  # what our stream is called here
        self._win = WINDOW_FIRST
        self._flight = Window(1 if ordered else 3)
        self._parts = None
        self._outbox.rewind(self._stored, self._flight)
        self._heard_ms = self._waiting_ms = now_ms
        self._hellos = 0
        self._hello_at_ms = now_ms - SECOND_MS
        self._time_left = 0
        self._due: dict[int, int] = {}  # HELLO, PING, TIMEQ: when to send the next
        self._gap: dict[int, int] = {}  # and how long after that one
        self._scan_ms: int | None = None

    # -- the application's side

    def link_up(self, now_ms: int, mtu: int, nonce: int, ordered: bool = True) -> None:
        """Packets up to `mtu` bytes, MAC included, can flow; ordered: if they come, then in order."""
        if self.state == states.DOWN:
            self._reset(now_ms, mtu, nonce, ordered)
        if not self._step(states.LINK_UP, now_ms):
            raise LocalError("link_up while up")

    def link_down(self, now_ms: int) -> None:
        """Nothing flows any more. Harmless while down."""
        self._step(states.LINK_DOWN, now_ms)

    def record_added(self, seq: int, urgent: bool = False) -> None:
        """The log has a new record. Urgent ones go first, others overtake the backlog."""
        self._scan_ms = None
        self._outbox.added(seq, urgent)

    def next_event(self) -> "Any":
        """The oldest event not yet taken, None when there is none."""
        return self._events.pop(0) if self._events else None

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when nothing is due."""
        due_ms = self._flight.deadline()
        if due_ms is not None and self._flowing():
            if now_ms >= self._silence_ms():
                self._step(states.SILENCE, now_ms)
            elif now_ms >= due_ms:
                self._flight.expire(now_ms)
        for kind in self._due:
            if now_ms >= self._due[kind] and (self._carried or kind == HELLO):
                return self._control(kind, now_ms)
        if self._flowing() and self._carried:
            if self._parts:
                return self._next_part(now_ms)
            open = len(self._flight) < min(self._win, self._limit)
            if open and (self._scan_ms is None or now_ms >= self._scan_ms):
                try:
                    return self._next_record(now_ms)
                except MemoryError:  # acknowledgements, or a collection, make room
                    self._short_of_memory(now_ms)
        return None

    def deadline(self) -> "int | None":
        """When next_pdu() will have something to do even if nothing comes in; None: never."""
        times = [self._due[kind] for kind in self._due if self._carried or kind == HELLO]
        due_ms = self._flight.deadline()
        if self._flowing():
            if due_ms is not None:
                times += [due_ms, self._silence_ms()]
            if self._scan_ms is not None and len(self._flight) < min(self._win, self._limit):
                times.append(self._scan_ms)
        return min(times) if times else None

    def hello(self, mtu: int, nonce: int) -> bytes:
        """A HELLO of this stream, as the log is now."""
        log = self._log
        body = (VERSION, self.features, log.oldest(), log.next_seq(), mtu, self._limit, self.device)
        # As many schemas as there is room for: the others are only sent again when asked for.
        room = (mtu - HELLO_BYTES - len(self.device)) // SCHEMA_BYTES
        schemas = self.schemas[: max(0, room)]
        return splice(self._signed(record(HELLO, *body, schemas, nonce)), self.stream)

    # -- sending, and what a file takes that a person carries: there no window waits for anybody

    def _flowing(self) -> bool:
        return self.state == states.READY or self.state == states.GREETING

    def _silence_ms(self) -> int:
        since_ms = max(self._heard_ms, self._waiting_ms)
        return since_ms + max(3 * self._flight.rto_ms, SILENCE_MS)

    def _signed(self, body: bytes) -> bytes:
        """R and its MAC; of a sealed link's record, what hides it and the MAC of that."""
        if self._hide and messages.is_record(body[1 if body[0] < 0xA0 else 3]):
            body = self._hide(body)
        if self._keys:
            return body + mac(self._keys[0], UP, self.stream, body, self._mac_bytes)
        return body

    def _control(self, kind: int, now_ms: int) -> bytes:
        """HELLO, PING or TIMEQ; without an answer the next one waits twice as long."""
        gap_ms = self._gap[kind]
        longest_ms = HELLO_MAX_MS if kind == HELLO else TIME_MS
        if kind == PING:
            longest_ms = PROBE_HELD_MAX_MS if self.state == states.HELD else PROBE_QUIET_MAX_MS
        self._due[kind] = now_ms + gap_ms
        self._gap[kind] = min(2 * gap_ms, max(gap_ms, longest_ms))
        body: tuple[Any, ...] = ()
        stream = self.stream
        if kind == HELLO:
            self._hellos += 1
            self._hello_at_ms = now_ms
            if self.state == states.QUIET:
                del self._due[HELLO]
            return self.hello(self._mtu, self._nonce)
        elif kind == TIMEQ:
            self._asked += 1
            self._asked_ms = now_ms
            self._token = (self._nonce + self._asked) & 0xFFFFFFFF  # fresh; the MAC does the rest
            body = (self._token,)
            stream = self._short
        elif self.state == states.READY:
            del self._due[PING]
            stream = self._short  # from a new address it is answered by NEED 1
        return splice(self._signed(record(kind, *body)), stream)

    def _next_record(self, now_ms: int) -> "bytes | None":
        flight = self._flight
        self._scan_ms = None
        for _ in range(SCAN_MAX):
            seq = self._outbox.choose(self._carried)
            if not seq:
                idle = not len(flight) and self._carried == ALL
                if idle and self._stored.cum < self._log.next_seq():
                    self._outbox.look_again()  # flash may have failed to answer once
                    self._scan_ms = now_ms + PROBE_MS
                return None
            body = self._log.get(seq)
            if body is None:  # acknowledged meanwhile, or dropped: a GAP says so
                self._outbox.forget(seq)
                continue
            e2e = splice(self._signed(body), self._short)
            if not len(flight) and not flight.lost:
                self._waiting_ms = now_ms
            if len(e2e) <= self._mtu:
                flight.sent(seq, now_ms, self.state == states.READY)
                return e2e
            if self._parts is None:
                from .fragments import Parts

                self._parts = Parts(self._mtu, self._log, self._outbox, self._signed)
            if self._parts.add(seq, 0, len(self._signed(body))):
                return self._next_part(now_ms)
            self._outbox.forget(seq)
            self._count("too_long")
        self._scan_ms = now_ms  # a wide hole in the log: the next call goes on
        return None

    def _next_part(self, now_ms: int) -> "bytes | None":
        e2e: bytes | None = self._parts.send(now_ms, self._short, self.state == states.READY)
        return e2e

    # -- receiving

    def receive(self, e2e: bytes, now_ms: int) -> None:
        """One packet as it came out of its frame. Never raises for what the bytes say."""
        if now_ms < self._muted_ms:
            self._count("muted")
            return
        try:
            self._receive(e2e, now_ms)
        except RemoteError:
            self._count("malformed")
        except MemoryError:  # it comes again; less in flight leaves more room for it
            self._short_of_memory(now_ms)

    def _short_of_memory(self, now_ms: int) -> None:
        self._limit = max(1, self._limit // 2)
        self._count("no_memory")
        self._outbox.look_again()
        self._scan_ms = now_ms + SECOND_MS

    def _receive(self, e2e: bytes, now_ms: int) -> None:
        pdu, fault = opened(e2e, self.stream, self._short, self._keys, self._mac_bytes)
        if not fault:
            self._heard_ms = now_ms
        elif fault != UNSIGNED:
            self._count(fault)
            if fault == BAD_MAC:
                self._forged_ms = max(self._forged_ms, now_ms) + FORGED_EACH_MS
                if self._forged_ms - now_ms > FORGED_BURST_MS:
                    self._muted_ms = now_ms + MUTE_MS
            return
        self._handle(pdu.type, pdu.fields, not fault, now_ms)

    def _handle(self, kind: int, fields: "list[Any]", authentic: bool, now_ms: int) -> None:
        if kind == messages.ACK:
            self._ack(fields, now_ms)
        elif kind == messages.WELCOME:
            self._welcome(fields, now_ms)
        elif kind == messages.TIME:
            if self._step(states.HEARD, now_ms):
                self._told_time(fields, now_ms)
        elif kind == NEED and fields[2] == NEED_HELLO:
            if self._step(states.CALLED, now_ms):
                self._call(now_ms)
        elif kind < messages.ACK:
            self._step(states.ALIEN, now_ms)
        else:  # what comes once in months: not in every board's heap
            from .reactions import react

            react(self, kind, fields, authentic, now_ms)

    def _step(self, event: int, now_ms: int) -> bool:
        """Moves as the table says; False, and a counter, where it has no such transition."""
        state = states.after(states.BOARD, self.state, event)
        if not state:
            self._count("unexpected")
            return False
        before = self.state
        if state == before:
            return True
        self.state = state
        due = self._due
        if state == states.READY or state == states.HELD:
            due.pop(HELLO, None)
            due.pop(PING, None)
        else:
            due.clear()
        if state == states.GREETING:
            self._call(now_ms)
        elif state == states.REFUSED:
            due[HELLO] = now_ms + HELLO_MAX_MS
            self._gap[HELLO] = HELLO_MAX_MS
        elif state == states.QUIET or state == states.HELD:
            due[PING] = now_ms if state == states.QUIET else now_ms + PROBE_MS
            self._gap[PING] = PROBE_MS
        if before != states.GREETING or state != states.READY:
            self._flight.put_back()
            self._outbox.rewind(self._stored, self._flight)
        return True

    def _call(self, now_ms: int) -> None:
        """HELLO, now or when the last one is a second old; our stream has its full name again."""
        self._short = self.stream
        self._due[HELLO] = max(now_ms, self._hello_at_ms + SECOND_MS)
        self._gap[HELLO] = max(SECOND_MS, self._flight.rto_ms)

    def _ask_time(self, at_ms: int) -> None:
        self._due[TIMEQ] = at_ms
        self._gap[TIMEQ] = TIME_RETRY_MS

    def _welcome(self, fields: "list[Any]", now_ms: int) -> None:
        version, _, alias, cum, win, nonce = fields[2:8]
        if nonce != self._nonce:
            self._count("welcome_stale")
        elif version >> 4 != VERSION >> 4:
            self._step(states.REFUSAL, now_ms)
        elif self._step(states.WELCOMED if win else states.WELCOMED_HELD, now_ms):
            if self._hellos == 1:  # the one answer that is certainly for the one HELLO
                self._hellos = 2
                self._flight.sample(now_ms - self._hello_at_ms)
            if self._keys and alias < 128:
                self._short = alias
            self._win = win
            if TIMEQ not in self._due:
                self._time_left = TIME_BURST
                self._ask_time(now_ms)
            self._stored.clear()  # a host may have been put back; what it has above, an ACK says now
            self._outbox.look_again()
            self._learn(cum, [], now_ms)
            self._emit(Welcomed(version, cum, win))

    def _ack(self, fields: "list[Any]", now_ms: int) -> None:
        cum = fields[2]
        win = self._win if fields[3] is None else fields[3]
        if cum < self._stored.cum:
            self._count("ack_stale")
        elif self._step(states.ACKED if win else states.ACKED_HELD, now_ms):
            self._win = win
            self._learn(cum, fields[5:], now_ms)

    def _learn(self, cum: int, pairs: "list[Any]", now_ms: int) -> None:
        """What the host has: all below `cum`, then pairs of so many missing, so many there."""
        end = self._log.next_seq()
        if cum > end:
            self._count("ack_beyond")
            cum = end
        if cum > 1:
            self._stored.add_range(1, cum - 1)
        if [x for x in pairs if type(x) is not int]:
            self._count("ack_malformed")
            pairs = []
        ranges = []
        at = cum
        for i in range(0, len(pairs) - 1, 2):
            first = at + pairs[i]
            at = first + pairs[i + 1]
            if not cum < first < at <= end:
                self._count("ack_malformed")
                break
            ranges.append((first, at - 1))
            self._stored.add_range(first, at - 1)
        full = len(ranges) >= PAIRS_MAX or (ranges and self._mtu < FULL_ACK_BYTES)
        limit = at if full else SEQ_MAX
        news = self._flight.acked(self._stored, now_ms, limit)
        self._log.acked(self._stored.cum, ranges)
        if news:
            self._emit(Acked(self._stored.cum, news))

    def _told_time(self, fields: "list[Any]", now_ms: int) -> None:
        time = self.time
        fresh = fields[2] == self._token
        if not fresh or not time.answer(self._asked_ms, fields[3], fields[4], now_ms):
            self._count("time_stale")
            return
        self._token = None
        self._time_left -= 1
        self._ask_time(now_ms + (SECOND_MS if self._time_left > 0 else TIME_MS))
        self._emit(Time(time.offset_ms, time.err_ms, time.anchor(now_ms)))

    def _emit(self, event: "Any") -> None:
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)
        else:
            self._count("events_dropped")

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
