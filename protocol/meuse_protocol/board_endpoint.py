"""The board's end of one link: which bytes to send next, and what the received ones mean. No IO, no clock.

Owns the link's state (states.BOARD) and its timers. Refuses to know how records are made or kept (`log`), in what
order they go (outbox), what a command does and how bytes travel. The log belongs to the stream and outlives every link.

    board = BoardEndpoint("stove-1", log.stream, psk, log)
    board.link_up(now_ms, mtu, nonce)          # nonce: 32 random bits, new for every link_up
    board.receive(e2e, now_ms)                 # one packet (PDU and MAC, out of its frame)
    while (event := board.next_event()): ...   # Changed, Welcomed, Acked, Time, Needed, Command, Refused
    while room and (e2e := board.next_pdu(now_ms)): send(e2e)   # pull only what the wire takes now
    wake at board.deadline()                   # ms, or None: nothing will happen without input
    board.record_added(seq, urgent=False)      # after log.append
    board.link_down(now_ms)                    # whatever was in flight counts as unsent

`now_ms` is an uptime that never goes back. Received bytes never raise: each bad one adds to `counters`.
"""

from collections import namedtuple

from . import messages, states
from .auth import DOWN, UP, direction_keys, equal, mac
from .errors import PacketError, RemoteError
from .messages import ERR, NEED, NEED_HELLO, VERSION, Pdu, parse, record, splice
from .outbox import Outbox
from .rate import Rate
from .received import SEQ_MAX, RangeSet
from .timesync import TimeSync
from .window import PAIRS_MAX, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any, Log

FEATURES = 0
WINDOW_BEFORE_WELCOME = 8  # enough to fill a slow link, little enough to lose when the host is a stranger
SCAN_MAX = 64  # seqs tried in the log per call: a whole reserved block
EVENTS_MAX = 16
REFUSED_SEQS_MAX = 4  # of which refusals are counted
REFUSALS_MAX = 8  # a record refused this often is set aside, so that it cannot be resent for ever
SECOND_MS = 1000
HELLO_MAX_MS = 60000
REFUSED_MS = 300000
PROBE_FIRST_MS = 5000
PROBE_HELD_MAX_MS = 30000  # the host is there and will tell by itself: this is for a lost ACK
PROBE_QUIET_MAX_MS = 300000
SILENCE_MS = 10000  # at least; or three timeouts
NEED_MS = 60000  # a replayed NEED may cost one record a minute, not one a second
MUTE_MS = 10000
TIME_BURST = 4  # exchanges after a WELCOME, one a second: the best of them counts
TIME_RETRY_MS = 5000
TIME_MS = 900000  # 50 ppm drift 45 ms in 15 minutes

Changed = namedtuple("Changed", ("state",))  # one of states.DOWN .. REFUSED
Welcomed = namedtuple("Welcomed", ("version", "cum", "window"))
Acked = namedtuple("Acked", ("cum", "count"))  # all below cum is durable; so many were news
Time = namedtuple("Time", ("offset_ms", "err_ms", "anchor"))  # anchor: (uptime_ms, utc_ms, err_ms) to write, or None
Needed = namedtuple("Needed", ("what", "items"))  # NEED_SCHEMA with [sid...] or None for all, NEED_ANCHOR
Command = namedtuple("Command", ("cid", "deadline", "op", "arg"))
Refused = namedtuple("Refused", ("code", "text", "seq"))  # ERR; seq is set when that record was set aside


class BoardEndpoint:
    """One stream on one link. psk: the device's 32 secret bytes, or None on a link the host trusts.

    window: records in flight at most; mac_bytes: a property of the link (8; 4 where the link has its own).
    `schemas`: [[sid, first 4 bytes of the schema's hash], ...] as HELLO tells them; the application keeps it.
    """

    def __init__(
        self,
        device: str,
        stream: int,
        psk: "bytes | None",
        log: "Log",
        window: int = 32,
        mac_bytes: int = 8,
    ) -> None:
        self.device = device
        self.stream = stream
        self.schemas: list[list[object]] = []
        self.counters: dict[str, int] = {}
        self.time = TimeSync()
        self.state = states.DOWN
        self._keys = direction_keys(psk, stream) if psk else None
        self._mac_bytes = mac_bytes if psk else 0
        self._log = log
        self._limit = window
        self._events: list[object] = []
        self._outbox = Outbox(log)
        self._refusals: dict[int, int] = {}
        self._need_rate = (Rate(1, NEED_MS), Rate(1, NEED_MS))  # schema, anchor
        self._forged = Rate(10, SECOND_MS)
        self._mute_ms = 0
        self._token: int | None = None
        self._asked = 0
        self._reset(0, 0, 0, True)

    def _reset(self, now_ms: int, mtu: int, nonce: int, ordered: bool) -> None:
        """What belongs to one link only."""
        self._mtu = mtu
        self._nonce = nonce
        self._flight = Window(1 if ordered else 3)
        self._stored = RangeSet()
        self._win = WINDOW_BEFORE_WELCOME
        self._short = self.stream
        self._heard_ms = now_ms
        self._hellos = 0
        self._hello_at_ms = now_ms - SECOND_MS
        self._hello_ms: int | None = now_ms
        self._hello_gap_ms = self._flight.rto_ms
        self._ping_ms: int | None = None
        self._ping_gap_ms = 0
        self._time_ms = now_ms
        self._time_gap_ms = TIME_RETRY_MS
        self._time_left = TIME_BURST
        self._waiting_ms = 0
        self._again_ms: int | None = None
        self._outbox.rewind(self._stored, self._flight)

    # -- the link

    def link_up(self, now_ms: int, mtu: int, nonce: int, ordered: bool = True) -> None:
        """Packets of up to `mtu` bytes (with MAC) can flow; ordered: they arrive in the order sent, if at all."""
        state = states.must(states.BOARD, self.state, states.LINK_UP)
        self._reset(now_ms, mtu, nonce, ordered)
        self._change(state)

    def link_down(self, now_ms: int) -> None:
        self._change(states.must(states.BOARD, self.state, states.LINK_DOWN))
        self._flight.put_back()

    def record_added(self, seq: int, urgent: bool = False) -> None:
        """The log has a new record. Urgent ones go first; others overtake the backlog where there is one."""
        self._outbox.added(seq, urgent)

    def next_event(self) -> "object | None":
        """The oldest event not yet taken, None when there is none."""
        return self._events.pop(0) if self._events else None

    # -- sending

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when nothing is due."""
        if self.state == states.DOWN:
            return None
        self._tick(now_ms)
        if self._hello_ms is not None and now_ms >= self._hello_ms:
            return self._hello(now_ms)
        if self._ping_ms is not None and now_ms >= self._ping_ms:
            return self._ping(now_ms)
        if self.state == states.READY and now_ms >= self._time_ms:
            return self._ask_time(now_ms)
        if self._flowing() and len(self._flight) < min(self._win, self._limit):
            return self._next_record(now_ms)
        return None

    def _next_record(self, now_ms: int) -> "bytes | None":
        self._again_ms = None
        flight = self._flight
        for _ in range(SCAN_MAX):
            seq = self._outbox.choose()
            if not seq:
                return None
            body = self._log.get(seq)
            if body is None:  # acknowledged meanwhile, or dropped: a GAP says so
                flight.forget(seq)
                continue
            e2e = self._seal(body, self._short)
            if len(e2e) > self._mtu:
                flight.forget(seq)
                self._count("too_long")
                continue
            if not len(flight):
                self._waiting_ms = now_ms
            flight.sent(seq, now_ms, self.state == states.READY)
            return e2e
        self._again_ms = now_ms  # a wide hole in the log: go on at the next call
        return None

    def deadline(self) -> "int | None":
        """When next_pdu() will have something to do even if nothing is received; None: never."""
        due = [self._hello_ms, self._ping_ms]
        if self.state == states.READY:
            due.append(self._time_ms)
        if self._flowing():
            due.append(self._again_ms)
        if self._flowing() and len(self._flight):
            due += [self._flight.deadline(), self._silence_ms()]
        times = [at for at in due if at is not None]
        return min(times) if times and self.state != states.DOWN else None

    def _flowing(self) -> bool:
        return self.state == states.READY or self.state == states.GREETING

    def _silence_ms(self) -> int:
        flight = self._flight
        return max(self._heard_ms, self._waiting_ms) + max(3 * flight.rto_ms, SILENCE_MS)

    def _tick(self, now_ms: int) -> None:
        if not (self._flowing() and len(self._flight)):
            return
        if now_ms >= self._silence_ms():
            self._step(states.SILENCE, now_ms)
            return
        due = self._flight.deadline()
        if due is not None and now_ms >= due:
            self._flight.expire(now_ms)

    def _seal(self, body: bytes, stream: int) -> bytes:
        e2e = splice(body, stream)
        if self._keys:
            e2e += mac(self._keys[0], UP, self.stream, body, self._mac_bytes)
        return e2e

    def _hello(self, now_ms: int) -> bytes:
        log = self._log
        self._hellos += 1
        self._hello_at_ms = now_ms
        self._hello_ms = None
        if self.state == states.GREETING:
            self._hello_ms = now_ms + self._hello_gap_ms
            self._hello_gap_ms = min(2 * self._hello_gap_ms, HELLO_MAX_MS)
        elif self.state == states.REFUSED:
            self._hello_ms = now_ms + REFUSED_MS
        body = record(
            messages.HELLO,
            VERSION,
            FEATURES,
            log.oldest(),
            log.next_seq(),
            self._mtu,
            self._limit,
            self.device,
            self.schemas,
            self._nonce,
        )
        return self._seal(body, self.stream)

    def _ping(self, now_ms: int) -> bytes:
        self._ping_ms = now_ms + self._ping_gap_ms
        longest = PROBE_HELD_MAX_MS if self.state == states.HELD else PROBE_QUIET_MAX_MS
        self._ping_gap_ms = min(2 * self._ping_gap_ms, longest)
        return self._seal(record(messages.PING), self.stream)

    def _ask_time(self, now_ms: int) -> bytes:
        self._time_ms = now_ms + self._time_gap_ms
        self._time_gap_ms = min(2 * self._time_gap_ms, TIME_MS)
        self._asked += 1
        self._token = (self._nonce + self._asked) & 0xFFFFFFFF  # never twice; the MAC keeps it from being guessed
        self._asked_ms = now_ms
        return self._seal(record(messages.TIMEQ, self._token), self._short)

    # -- receiving

    def receive(self, e2e: bytes, now_ms: int) -> None:
        """One packet as it came out of its frame. Never raises for what the bytes say."""
        if now_ms < self._mute_ms:
            self._count("muted")
            return
        try:
            self._receive(e2e, now_ms)
        except RemoteError:
            self._count("malformed")
        except MemoryError:  # it will come again; less in flight leaves more room for it
            self._count("no_memory")
            self._limit = max(1, self._limit >> 1)

    def _receive(self, e2e: bytes, now_ms: int) -> None:
        try:
            pdu = parse(e2e, self._mac_bytes)
        except PacketError:  # perhaps one of the two that need no MAC
            pdu = parse(e2e)
            if pdu.type != ERR and pdu.fields[2] != NEED_HELLO:
                raise
        if pdu.stream != 0 and pdu.stream != self._short and pdu.stream != self.stream:
            self._count("other_stream")
            return
        authentic = True
        if self._keys:
            tag = mac(self._keys[1], DOWN, self.stream, pdu.record, self._mac_bytes)
            authentic = equal(tag, pdu.mac)
            if pdu.mac and not authentic:
                self._count("bad_mac")
                if not self._forged.allow(now_ms):
                    self._mute_ms = now_ms + MUTE_MS
                return
        if authentic:
            self._heard_ms = now_ms
        self._handle(pdu.type, pdu.fields, authentic, now_ms)

    def _handle(self, kind: int, fields: "list[Any]", authentic: bool, now_ms: int) -> None:
        if kind == messages.ACK:
            self._ack(fields, now_ms)
        elif kind == messages.WELCOME:
            self._welcome(fields, now_ms)
        elif kind == NEED:
            self._need(fields[2], fields[3], authentic, now_ms)
        elif kind == ERR:
            self._refused(fields, authentic, now_ms)
        elif kind == messages.TIME:
            if self._step(states.HEARD, now_ms):
                self._told_time(fields, now_ms)
        elif kind == messages.CMD:
            if self._step(states.HEARD, now_ms):
                self._emit(Command(fields[2], fields[3], fields[4], fields[5]))
        elif kind < 32:
            self._step(states.ALIEN, now_ms)
        else:
            self._count("unknown_control")

    def _step(self, event: int, now_ms: int) -> bool:
        """Moves as the table says; False (and a counter) where it has no such transition."""
        state = states.after(states.BOARD, self.state, event)
        if not state:
            self._count("unexpected")
            return False
        if state == self.state:
            return True
        if state == states.GREETING:
            self._call(now_ms)
            self._short = self.stream
        elif state == states.REFUSED:
            self._hello_ms = now_ms + REFUSED_MS
        elif state == states.READY or state == states.HELD:
            self._hello_ms = None
        self._ping_ms = None
        if state == states.QUIET or state == states.HELD:
            self._ping_gap_ms = PROBE_FIRST_MS
            self._ping_ms = now_ms if state == states.QUIET else now_ms + PROBE_FIRST_MS
        if self.state == states.QUIET or self.state == states.HELD or state == states.REFUSED:
            self._flight.put_back()
            self._outbox.rewind(self._stored, self._flight)
        self._change(state)
        return True

    def _change(self, state: str) -> None:
        self.state = state
        self._emit(Changed(state))

    def _call(self, now_ms: int) -> None:
        """HELLO, now or when the last one is a second old."""
        self._hello_ms = max(now_ms, self._hello_at_ms + SECOND_MS)
        self._hello_gap_ms = max(SECOND_MS, self._flight.rto_ms)

    def _welcome(self, fields: "list[Any]", now_ms: int) -> None:
        _, _, version, _, alias, cum, win, nonce = fields
        if nonce != self._nonce:
            self._count("welcome_stale")
            return
        if version >> 4 != VERSION >> 4:
            self._step(states.REFUSAL, now_ms)
            return
        if not self._step(states.WELCOMED if win else states.WELCOMED_HELD, now_ms):
            return
        if self._hellos == 1:
            self._flight.sample(now_ms - self._hello_at_ms)
        self._short = alias if alias < 128 else self.stream
        self._win = win
        self._learn(cum, [], now_ms)
        self._emit(Welcomed(version, cum, win))

    def _ack(self, fields: "list[Any]", now_ms: int) -> None:
        cum, win = fields[2], fields[3]
        if cum < self._stored.cum:
            self._count("ack_stale")
            return
        if win is None:
            win = self._win
        if self._step(states.ACKED if win else states.ACKED_HELD, now_ms):
            self._win = win
            self._learn(cum, fields[5:], now_ms)

    def _learn(self, cum: int, pairs: "list[Any]", now_ms: int) -> None:
        """What the host has: everything below `cum`, then (missing, present) pairs."""
        top = self._log.next_seq()
        if cum > top:
            self._count("ack_beyond")
            cum = top
        if cum > 1:
            self._stored.add_range(1, cum - 1)
        ranges = []
        at = cum
        for i in range(0, len(pairs) - 1, 2):
            gap, run = pairs[i], pairs[i + 1]
            if type(gap) is not int or type(run) is not int or gap < 1 or run < 1 or at + gap + run > top:
                self._count("ack_malformed")
                break
            ranges.append((at + gap, at + gap + run - 1))
            at += gap + run
            self._stored.add_range(at - run, at - 1)
        limit = at - 1 if len(ranges) >= PAIRS_MAX else SEQ_MAX
        count = self._flight.acked(self._stored, now_ms, limit)
        self._log.acked(self._stored.cum, ranges)
        if count:
            self._emit(Acked(self._stored.cum, count))

    def _told_time(self, fields: "list[Any]", now_ms: int) -> None:
        _, _, token, t2_utc_ms, hold_ms = fields
        if token != self._token or not self.time.answer(self._asked_ms, t2_utc_ms, hold_ms, now_ms):
            self._count("time_stale")
            return
        self._token = None
        self._time_left = max(0, self._time_left - 1)
        self._time_ms = now_ms + (SECOND_MS if self._time_left else TIME_MS)
        self._time_gap_ms = TIME_RETRY_MS
        self._emit(Time(self.time.offset_ms, self.time.err_ms, self.time.anchor(now_ms)))

    def _need(self, what: int, items: object, authentic: bool, now_ms: int) -> None:
        called = what == NEED_HELLO
        if not self._step(states.CALLED if called else states.HEARD, now_ms):
            return
        if called:
            self._call(now_ms)
        elif what == messages.NEED_FRAGMENTS or what > messages.NEED_ANCHOR:
            self._count("unknown_control")
        elif self._need_rate[what == messages.NEED_ANCHOR].allow(now_ms):
            self._emit(Needed(what, items))
        else:
            self._count("need_limited")

    def _refused(self, fields: "list[Any]", authentic: bool, now_ms: int) -> None:
        code, text = fields[2], fields[3]
        if not authentic:
            event = states.NOTED
        else:
            event = states.REFUSAL if code == messages.ERR_VERSION else states.HEARD
        if not self._step(event, now_ms):
            return
        seq = fields[4] if len(fields) > 4 and authentic else None
        self._emit(Refused(code, text, seq if self._set_aside(code, seq) else None))

    def _set_aside(self, code: int, seq: "int | None") -> bool:
        """Counts a record's refusals; True when it is now passed over: one bad record must not be sent for ever."""
        if type(seq) is not int or code not in (messages.ERR_PACKET, messages.ERR_LIMIT):
            return False
        tries = self._refusals.pop(seq, 0) + 1
        if tries >= REFUSALS_MAX:
            self._outbox.park(seq)
            return True
        if len(self._refusals) >= REFUSED_SEQS_MAX:
            self._refusals.clear()
        self._refusals[seq] = tries
        return False

    def _emit(self, event: object) -> None:
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)
        else:
            self._count("events_dropped")

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
