"""The host's end of one link: verifies and sorts what boards send, and says what is durable. No IO, no storage.

Owns the link's state (states.HOST) and every bound on what strangers can cause. Refuses to know what a record says
(but for the range in a GAP), how it is stored and how bytes travel. What is known of a stream is shared by all links
(host_stream.StreamState); what goes back is kept in host_replies.

    host = HostEndpoint(directory, trusted=False)
    host.call(now_ms)                        # optional, on a cable just opened: "who is there?" (NEED 1)
    host.receive(e2e, now_ms, utc_ms)        # one packet; utc_ms: the wall clock, None while it is not to be trusted
    while (event := host.next_event()): ...  # Hello, Record, GapFound, Duplicate, Violation
    host.stored(stream, seqs, now_ms)        # Records are durable: now they are acknowledged
    host.gap_stored(stream, first, last, now_ms)   # a GapFound is durable
    host.dropped(stream, seqs)               # Records that will not be stored now: as if they had never come
    host.conflict(stream, seq, now_ms)       # a Duplicate's bytes differ from those stored
    host.need(stream, what, items, now_ms)   # NEED_SCHEMA with [sid ...], NEED_ANCHOR
    host.undecodable(stream, sid, now_ms)    # a stored record makes no sense: ERR 4, once per sid
    host.set_window(n, now_ms)               # 0: take nothing more; the boards are told at once
    while (e2e := host.next_pdu(now_ms)): send(e2e)
    wake at host.deadline(now_ms)            # ms, or None

Take all events after each receive(): when EVENTS_MAX wait, packets are dropped and counted (`overrun`). A stream that is
`new` in Hello is bound from then on: its older siblings are the program's to close. When a link is gone, what it brought
may still become durable: call stored(), gap_stored() and dropped() on the StreamState then.
Received bytes never raise: each bad one adds to `counters`, with a Violation where a person may want to know.
`now_ms` never goes back; utc_ms may step.
"""

from collections import namedtuple

from . import messages, states
from .auth import UP, direction_keys, equal, mac
from .errors import ContentError, PacketError, RemoteError
from .host_replies import Due, Replies
from .host_stream import PENDING_MAX, StreamState
from .messages import GAP, HELLO, VERSION, head, parse
from .msgpack import scan
from .rate import Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any, Check, Directory

EVENTS_MAX = 4096
FORGED_MAX = 10  # within a second; more and nothing is read for MUTE_MS
SECOND_MS = 1000
MUTE_MS = 10000

Record = namedtuple("Record", ("state", "seq", "type", "record"))  # new: make it durable, then stored()
Duplicate = namedtuple("Duplicate", ("state", "seq", "type", "record"))  # stored already, perhaps with other bytes
Hello = namedtuple("Hello", ("state", "new", "version", "oldest", "next_seq", "mtu", "window", "schemas"))
GapFound = namedtuple("GapFound", ("state", "first", "last", "reason", "source"))  # source: seq of the GAP; 0: the host
Violation = namedtuple("Violation", ("counter", "detail"))


class HostEndpoint:
    """One link. trusted: devices without a key may speak here; check: where the msgpack object in some bytes ends.

    window: records a board may have in flight; mac_bytes: a property of the link (8; 4 where the link has its own).
    """

    def __init__(
        self,
        directory: "Directory",
        trusted: bool = False,
        mac_bytes: int = 8,
        window: int = 32,
        check: "Check" = scan,
    ) -> None:
        self.state = states.OPEN
        self.counters: dict[str, int] = {}
        self._directory = directory
        self._trusted = trusted
        self._mac_bytes = mac_bytes
        self._check = check
        self._events: list[Any] = []
        self._replies = Replies(mac_bytes, window)
        self._forged = Rate(FORGED_MAX, SECOND_MS)
        self._mute_ms = 0

    # -- the program's side

    def next_event(self) -> "Any":
        """The oldest event not yet taken, None when there is none."""
        return self._events.pop(0) if self._events else None

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when nothing is due."""
        return self._replies.next_pdu(now_ms)

    def deadline(self, now_ms: int) -> "int | None":
        """When next_pdu() will have something to do even if nothing is received; None: never."""
        return self._replies.deadline(now_ms)

    def call(self, now_ms: int) -> None:
        """Asks whoever is there to say HELLO; no more than once a second."""
        self._replies.need_hello(0, now_ms)

    def stored(self, stream: int, seqs: list[int], now_ms: int) -> None:
        """These records are durable: they are acknowledged, soon or at once."""
        due = self._due(stream)
        if due is not None:
            due.state.stored(seqs)
            self._replies.ack_stored(due, seqs, now_ms)

    def gap_stored(self, stream: int, first: int, last: int, now_ms: int) -> None:
        """It is durable that first .. last will not come: the board need not offer them again."""
        due = self._due(stream)
        if due is not None:
            due.state.gap_stored(first, last)
            self._replies.ack_at(due, now_ms)

    def dropped(self, stream: int, seqs: list[int]) -> None:
        due = self._due(stream)
        if due is not None:
            due.state.dropped(seqs)

    def conflict(self, stream: int, seq: int, now_ms: int) -> None:
        """Same stream and seq, other bytes: the first stay; the board is told, a person should be."""
        self._count("conflict")
        self._replies.error(self._due(stream), now_ms, messages.ERR_CONFLICT, "conflict", seq)

    def need(self, stream: int, what: int, items: "list[int] | None", now_ms: int) -> None:
        due = self._due(stream)
        if due is not None and (what, items) not in due.needs:
            due.needs = due.needs[-3:] + [(what, items)]
            self._replies.owe(due)

    def undecodable(self, stream: int, sid: int, now_ms: int) -> None:
        due = self._due(stream)
        if due is not None and sid not in due.state.undecodable:
            if self._replies.error(due, now_ms, messages.ERR_CONTENT, "sid %d" % sid):
                due.state.undecodable.append(sid)

    def command(self, stream: int, cid: int, deadline: "list[int]", op: str, arg: object) -> None:
        """Queues one CMD; LocalError when too many wait. Sending it again is the program's business."""
        due = self._due(stream)
        if due is not None:
            self._replies.command(due, (cid, deadline, op, arg))

    def set_window(self, window: int, now_ms: int) -> None:
        """How many records each board may have in flight; 0 stops them."""
        if window != self._replies.window:
            self._replies.window = window
            self._replies.ack_all(now_ms)

    def _due(self, stream: int) -> "Due | None":
        due = self._replies.dues.get(stream)
        if due is None:
            state = self._directory.stream(stream)
            due = self._replies.of(state) if state else None
        return due

    # -- receiving

    def receive(self, e2e: bytes, now_ms: int, utc_ms: "int | None" = None) -> None:
        """One packet as it came out of its frame. Never raises for what the bytes say."""
        if self.state == states.MUTE:
            if now_ms < self._mute_ms:
                self._count("muted")
                return
            self._step(states.CALM)
        if len(self._events) >= EVENTS_MAX:
            self._count("overrun")
            return
        due = seq = None
        try:
            kind, stream, seq = head(e2e)
            if kind == HELLO:
                self._hello(e2e, stream, now_ms)
                return
            if stream == 0:
                due = self._replies.bound
            elif stream > 127:
                due = self._due(stream)
            if due is None:
                self._step(states.SHORT if stream == 0 else states.STRANGER, "unbound")
                self._replies.need_hello(stream, now_ms)
                return
            body = self._verify(due, e2e, now_ms)
            if body is None:
                due = None
                return
            self._step(states.SHORT if stream == 0 else states.FULL)
            if seq is None:
                self._control(due, kind, e2e, now_ms, utc_ms)
            else:
                self._record(due, kind, seq, e2e, body, now_ms)
        except RemoteError as error:
            self._complain(error, due, seq if due else None, now_ms)

    def _verify(self, due: Due, e2e: bytes, now_ms: int) -> "bytes | None":
        """R of an authentic packet; None (and a counter) for any other."""
        state = due.state
        end = len(e2e) - (self._mac_bytes if state.keys else 0)
        at = 2 if e2e[0] < 0xA0 else 4
        body = e2e[:at] + e2e[at + (1 if e2e[at] < 128 else 5) : end]
        if not state.keys:
            if self._trusted:
                return body
            self._count("untrusted")
            return None
        tag = e2e[end:]
        if equal(mac(state.keys[due.key][0], UP, state.stream, body, self._mac_bytes), tag):
            return body
        for i in range(len(state.keys)):
            if equal(mac(state.keys[i][0], UP, state.stream, body, self._mac_bytes), tag):
                due.key = i
                return body
        self._bad_mac(now_ms)
        return None

    def _bad_mac(self, now_ms: int) -> None:
        self._step(states.FORGED)
        self._count("bad_mac")
        if not self._forged.allow(now_ms):
            self._step(states.FLOOD)
            self._replies.bound = None
            self._mute_ms = now_ms + MUTE_MS
            self._violate("flood", "more than %d forged packets within a second" % FORGED_MAX)

    def _record(self, due: Due, kind: int, seq: int, e2e: bytes, body: bytes, now_ms: int) -> None:
        state = due.state
        if state.received.contains(seq):
            self._replies.ack_at(due, now_ms)
            self._count("duplicate")
            self._events.append(Duplicate(state, seq, kind, body))
            return
        waiting = state.pending.get(seq)
        if waiting is not None:
            due.at_once.append(seq)
            self._count("duplicate")
            if waiting != body:
                self.conflict(state.stream, seq, now_ms)
                self._violate("conflict", "stream %d seq %d: other bytes than before" % (state.stream, seq))
            return
        if not state.keys and state.far(seq):
            self._count("seq_far")
            self._replies.need_hello(state.stream, now_ms)
            return
        pdu = e2e[: -self._mac_bytes] if state.keys else e2e
        if self._check(pdu) != len(pdu):
            raise PacketError("trailing bytes")
        if len(state.pending) >= PENDING_MAX:
            self._count("pending_full")
            return
        if seq > due.last + 1 and not state.covered.contains(seq - 1) and (seq - 1) not in state.pending:
            due.at_once.append(seq)
        due.last = seq
        state.pending[seq] = body
        self._events.append(Record(state, seq, kind, body))
        if kind == GAP:
            self._gap(state, seq, pdu)

    def _gap(self, state: StreamState, seq: int, pdu: bytes) -> None:
        """What the board says it lost. A range that reaches its own record or beyond is stored, not believed."""
        try:
            fields = parse(pdu).fields
            messages.check(fields)
        except ContentError:
            fields = [0, 0, 0, 0, 0, 0]
        first, last = fields[3], fields[4]
        if 1 <= first <= last < seq:
            self._events.append(GapFound(state, first, last, fields[5], seq))
        else:
            self._count("gap_invalid")

    def _control(self, due: Due, kind: int, e2e: bytes, now_ms: int, utc_ms: "int | None") -> None:
        fields = parse(e2e, self._mac_bytes if due.state.keys else 0).fields
        if kind == messages.PING:
            if due.pings.allow(now_ms):
                self._replies.ack_at(due, now_ms)
            else:
                self._count("ping_limited")
        elif kind == messages.TIMEQ:
            if utc_ms is None:
                self._count("time_unknown")
            else:
                due.time = (fields[2], utc_ms, now_ms)
                self._replies.owe(due)
        elif kind < 32:
            self._count("unknown_control")
        else:
            self._step(states.FOREIGN)

    # -- HELLO

    def _hello(self, e2e: bytes, stream: int, now_ms: int) -> None:
        pdu = parse(e2e, len(e2e) - scan(e2e))
        version, _, oldest, next_seq, mtu, window, name, schemas, nonce = pdu.fields[2:11]
        if stream < 128 or not 1 <= oldest <= next_seq:
            raise ContentError("HELLO")
        state = self._directory.stream(stream)
        psks = self._directory.keys(name)
        key = self._key(psks or [], stream, pdu)
        refusal = ""
        if psks is None:
            refusal = "unknown_device"
        elif not psks and not (self._trusted and not pdu.mac):
            refusal = "untrusted"
        elif psks and key is None:
            self._bad_mac(now_ms)
            refusal = "bad_hello"
        elif state is not None and state.device != name:
            refusal = "stream_of_another"
        if refusal:
            self._refuse(refusal, name, now_ms)
            return
        new = state is None
        if state is None:
            state = self._directory.bind(stream, name)
        else:
            state.set_keys(psks or [])
        due = self._replies.of(state)
        due.key = key or 0
        due.mtu_bytes = mtu
        if version >> 4 < VERSION >> 4:
            self._step(states.HELLO_BAD, "version")
            text = "%d.%d" % (VERSION >> 4, VERSION & 15)
            self._replies.error(due, now_ms, messages.ERR_VERSION, text + ".." + text)
        elif next_seq < state.next_seq:
            # Late or replayed, or a log that was put back to an older state: it changes nothing.
            self._step(states.HELLO_BAD, "hello_stale")
            text = "next %d, known %d" % (next_seq, state.next_seq)
            self._replies.error(due, now_ms, messages.ERR_CONFLICT, text)
        else:
            self._greet(due, new, pdu.fields, now_ms)

    def _key(self, psks: "list[bytes]", stream: int, pdu: "Any") -> "int | None":
        """Which of the device's secrets verifies this HELLO."""
        for i in range(len(psks)):
            up = direction_keys(psks[i], stream)[0]
            if pdu.mac and equal(mac(up, UP, stream, pdu.record, self._mac_bytes), pdu.mac):
                return i
        return None

    def _refuse(self, refusal: str, name: str, now_ms: int) -> None:
        self._step(states.HELLO_BAD, refusal)
        if self.state != states.MUTE and self._replies.error(None, now_ms, messages.ERR_DEVICE, refusal):
            self._violate(refusal, name)

    def _greet(self, due: Due, new: bool, fields: "list[Any]", now_ms: int) -> None:
        """A HELLO that holds: stream 0 is this stream from now on, and what the board no longer has is a gap."""
        version, _, oldest, next_seq, mtu, window, _, schemas, nonce = fields[2:11]
        state = due.state
        self._step(states.HELLO_GOOD)
        self._replies.bound = due
        state.next_seq = next_seq
        if new or nonce != due.nonce:
            self._events.append(Hello(state, new, version, oldest, next_seq, mtu, window, schemas))
        if oldest > state.cum:
            for first, last in state.covered.missing(state.cum, oldest - 1):
                self._unannounced(state, first, last)
        due.nonce = nonce
        due.welcome = True
        if state.covered.count() > (state.cum > 1):
            self._replies.ack_at(due, now_ms)  # WELCOME says only cum; the ranges save what they name
        self._replies.owe(due)

    def _unannounced(self, state: StreamState, first: int, last: int) -> None:
        """A hole the board cannot fill any more; what is on its way into storage is no hole."""
        for seq in sorted(state.pending):
            if first <= seq <= last:
                if first < seq:
                    self._events.append(GapFound(state, first, seq - 1, messages.GAP_UNANNOUNCED, 0))
                first = seq + 1
        if first <= last:
            self._events.append(GapFound(state, first, last, messages.GAP_UNANNOUNCED, 0))

    # -- what went wrong

    def _complain(self, error: RemoteError, due: "Due | None", seq: "int | None", now_ms: int) -> None:
        """Counts a packet that breaks the rules and answers it; `due` and `seq` only of authentic ones."""
        code = error.code
        self._count("limit" if code == messages.ERR_LIMIT else "content" if code == messages.ERR_CONTENT else "malformed")
        if code:
            self._replies.error(due, now_ms, code, error.reason, seq)

    def _step(self, event: int, counter: str = "") -> None:
        """Moves as the table says; where it has no such transition, or one with a name, a counter goes up."""
        state = states.after(states.HOST, self.state, event)
        if counter or not state:
            self._count(counter or "unexpected")
        if state:
            self.state = state

    def _violate(self, counter: str, detail: str) -> None:
        self._events.append(Violation(counter, detail))

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
