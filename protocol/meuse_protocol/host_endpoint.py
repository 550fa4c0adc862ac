"""The host's end of one link: verifies and sorts what boards send, says what is durable. No IO.

Owns the link's state (host_states.HOST) and every bound on what strangers can cause. Refuses to
know what a record says (but for the range in a GAP), how it is stored and how bytes travel. What
is known of a stream is shared by all links (host_stream); what goes back waits in host_replies.

    host = HostEndpoint(directory, trusted=False)
    host.call(now_ms)                        # a cable was just opened: "who is there?" (NEED 1)
    host.receive(e2e, now_ms, utc_ms)        # one packet; utc_ms: None while it is not trusted
    while (event := host.next_event()): ...  # Hello, Record, GapFound, Duplicate, Violation
    host.stored(stream, seqs, now_ms)        # Records are durable: now they are acknowledged
    host.gap_stored(stream, first, last, now_ms)   # a GapFound is durable
    host.dropped(stream, seqs)               # Records not stored after all: as if never come
    host.conflict(stream, seq, now_ms)       # a Duplicate differs from what is stored: ERR 5
    host.need(stream, what, items, now_ms)   # NEED_SCHEMA with [sid ...], or NEED_ANCHOR
    host.undecodable(stream, sid, now_ms)    # a stored DATA makes no sense: ERR 4, once per sid
    host.command(stream, cid, deadline, op, arg)
    host.set_window(n, now_ms)               # 0: take nothing more; the boards are told at once
    host.poll(stream, credit)                # packets that give one of several boards its turn
    while (e2e := host.next_pdu(now_ms)): send(e2e)
    wake at host.deadline(now_ms)            # ms, or None

Take all events after each receive(): while EVENTS_MAX wait, packets are dropped and counted.
Hello says whether the stream is `new`: only then bind it, and close the device's older ones.
When a link is gone, what it brought may still become durable: tell the StreamState then.
Received bytes never raise: bad ones go to `counters`, with a Violation where a person may want
to know. `now_ms` never goes back; utc_ms may step.
"""

from collections import namedtuple

from . import columns_decode, messages
from .auth import UP, equal, mac
from .errors import ContentError, PacketError, RemoteError
from .host_hello import EVENTS_MAX, Greeter
from .host_hello import GapFound as GapFound
from .host_hello import Hello as Hello
from .host_hello import Violation as Violation
from .host_replies import ACK_DELAY_MS, ACKS, Due, Replies
from .host_states import CALM, FOREIGN, FULL, MUTE, SHORT, STRANGER
from .host_stream import PENDING_MAX, StreamState
from .messages import FRAG, FRAG0, GAP, HELLO, SEALED, head, is_record, parse, splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Aes, Any, Check, Directory

# A record not seen before: make it durable, then call stored().
Record = namedtuple("Record", ("state", "seq", "type", "record"))
# A record that is stored already, perhaps with other bytes.
Duplicate = namedtuple("Duplicate", ("state", "seq", "type", "record"))


class HostEndpoint(Greeter):
    """One link. trusted: devices without a key may speak here, until a relay does.

    window: records each board may have in flight. mac_bytes: a property of the link (8; 4 where
    it has its own). check: where a record's array ends, and that it keeps to the limits, as
    columns_decode.check says it; a quicker one may stand in. aes: makes a cipher of a key, to open
    what is sealed; without it such records are stored as they came.
    boards: how many may share the wire, 1 to 127, each speaking when it is polled; 0: there is one,
    and it speaks when it likes.
    acks: after how many records, and after how many ms at the latest, an ACK goes unasked.
    """

    def __init__(
        self,
        directory: "Directory",
        trusted: bool = False,
        mac_bytes: int = 8,
        window: int = 32,
        check: "Check" = columns_decode.check,
        aes: "Aes | None" = None,
        boards: int = 0,
        acks: "tuple[int, int]" = ACKS,
    ) -> None:
        super().__init__(directory, trusted, mac_bytes, Replies(mac_bytes, window, boards, acks))
        self._check = check
        self._aes = aes

    # -- the program's side

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when nothing is due."""
        return self._replies.next_pdu(now_ms)

    def deadline(self, now_ms: int) -> "int | None":
        """When next_pdu() will have something to do even if nothing comes in; None: never."""
        return self._replies.deadline(now_ms)

    def call(self, now_ms: int, slots: "list[int] | None" = None) -> None:
        """Asks whoever is there to say HELLO; no more than once a second.

        slots, where boards share the wire: their number, ms of each, a number of this run (u32).
        """
        self._replies.need_hello(0, now_ms, slots)

    def poll(self, stream: int, credit: int) -> list[bytes]:
        """What gives a board its turn of `credit` packets, to be sent behind all that is due."""
        due = self._due(stream)
        return self._replies.poll(due, credit) if due is not None else []

    def packets(self, stream: int) -> int:
        """Authentic packets that came under this stream."""
        due = self._replies.dues.get(stream)
        return due.packets if due is not None else 0

    def release(self, stream: int) -> None:
        """This board has left the wire it shared: its alias may be another's."""
        due = self._replies.dues.get(stream)
        if due is not None:
            self._replies.release(due)

    def stored(self, stream: int, seqs: list[int], now_ms: int) -> None:
        """These records are durable: they are acknowledged, soon or at once."""
        due = self._due(stream)
        if due is not None:
            due.state.stored(seqs)
            self._replies.ack_stored(due, seqs, now_ms)

    def gap_stored(self, stream: int, first: int, last: int, now_ms: int) -> None:
        """It is durable that first .. last will not come: the board hears that they are settled."""
        due = self._due(stream)
        if due is not None:
            due.state.gap_stored(first, last)
            self._replies.ack_at(due, now_ms)

    def dropped(self, stream: int, seqs: list[int]) -> None:
        """These Records were not stored: when they come again they are new."""
        due = self._due(stream)
        if due is not None:
            due.at_once.difference_update(seqs)
            due.state.dropped(seqs)

    def conflict(self, stream: int, seq: int, now_ms: int) -> None:
        """Same stream and seq, other bytes: the first stay, the board is told."""
        self._count("conflict")
        self._replies.error(self._due(stream), now_ms, messages.ERR_CONFLICT, "conflict", seq)

    def need(self, stream: int, what: int, items: "list[int] | None", now_ms: int) -> None:
        """Asks the board for a schema or an anchor; a board may answer as rarely as it likes."""
        due = self._due(stream)
        if due is not None:
            self._replies.need(due, what, items)

    def undecodable(self, stream: int, sid: int, now_ms: int) -> None:
        """Rows under this schema are stored but cannot be read."""
        due = self._due(stream)
        if due is None or sid in due.state.undecodable:
            return
        if self._replies.error(due, now_ms, messages.ERR_CONTENT, "sid %d" % sid):
            due.state.undecodable.add(sid)

    def command(self, stream: int, cid: int, deadline: list[int], op: str, arg: object) -> None:
        """Sends one CMD once; again and again is the program's business. LocalError: too many."""
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
            due = self._replies.of(state) if state is not None else None
        return due

    # -- receiving

    def receive(self, e2e: bytes, now_ms: int, utc_ms: "int | None" = None) -> None:
        """One packet as it came out of its frame. Never raises for what the bytes say."""
        if self.state == MUTE:
            if now_ms < self._mute_ms:
                self._count("muted")
                return
            self._step(CALM)
        if len(self._events) >= EVENTS_MAX:
            self._count("overrun")
            return
        try:
            kind, stream, seq = head(e2e)
            if kind == HELLO:
                if self._patience.over(now_ms):
                    self._count("muted")
                else:
                    self._hello(e2e, stream, now_ms)
                return
            due = self._speaker(stream, now_ms)
            if due and due.patience and due.patience.over(now_ms):
                self._count("muted")
                return
            if due and (kind == FRAG or kind == FRAG0):
                whole = self._part(due, kind, parse(e2e).fields, now_ms)
                if whole is None:
                    return
                e2e = whole
                kind, stream, seq = head(e2e)
            body, key = self._verify(due, e2e, now_ms) if due else (None, 0)
        except RemoteError as error:
            self._complain(error, None, 0, now_ms)
            return
        if not body or due is None:
            return
        try:
            self._step(FULL if stream else SHORT)
            due.packets += 1
            due.aliased = due.aliased or 0 < stream < 128
            if seq is None:
                self._control(due, kind, e2e, now_ms, utc_ms)
            else:
                pdu = e2e[: -self._mac_bytes] if due.state.keys else e2e
                if kind == SEALED and self._aes and due.state.keys:
                    body = due.state.unsealed(self._aes(due.state.keys[key][2]), body)
                    pdu = splice(body, due.state.stream)
                    kind = head(pdu)[0]
                self._record(due, kind, seq, pdu, body, now_ms, key)
        except RemoteError as error:
            self._complain(error, due, seq or 0, now_ms)

    def _speaker(self, stream: int, now_ms: int) -> "Due | None":
        """Whose stream this is; strangers are asked for their HELLO and nothing else."""
        due = self._replies.called(stream) if stream < 128 else self._due(stream)
        if due is None:
            self._step(SHORT if stream == 0 else STRANGER, "unbound")
            self._replies.need_hello(stream, now_ms)
        return due

    def _verify(self, due: Due, e2e: bytes, now_ms: int) -> "tuple[bytes | None, int]":
        """(R, which key) of an authentic packet; None, and a counter, for any other."""
        state = due.state
        end = len(e2e) - (self._mac_bytes if state.keys else 0)
        at = 2 if e2e[0] < 0xA0 else 4
        body = e2e[:at] + e2e[at + (1 if e2e[at] < 128 else 5) : end]
        if not state.keys:
            if self._trusted and not self.several:
                return body, 0
            self._count("untrusted")
            return None, 0
        for i in range(len(state.keys)):
            tag = mac(state.keys[i][0], UP, state.stream, body, self._mac_bytes)
            if equal(tag, e2e[end:]):
                return body, i
        self._forgery(now_ms, due)
        return None, 0

    def _record(
        self, due: Due, kind: int, seq: int, pdu: bytes, body: bytes, now_ms: int, key: int
    ) -> None:
        state = due.state
        if state.received.contains(seq):
            self._count("duplicate")
            self._ack_again(due, now_ms)
            self._events.append(Duplicate(state, seq, kind, body))
            return
        if seq in state.pending:
            self._pending_again(due, seq, body, now_ms)
            return
        if not state.keys and state.is_far(seq):
            self._count("seq_far")
            self._replies.need_hello(state.stream, now_ms)
            return
        if self._check(pdu) != len(pdu):
            raise PacketError("trailing bytes")
        if len(state.pending) >= PENDING_MAX:
            self._count("pending_full")
            return
        if key:
            state.prefer(key)  # only what is new says which key the board has now
        if seq > due.last + 1 and state.is_new(seq - 1):
            due.hurry(seq)  # a hole: the sooner the board hears of it the better
        due.last = seq
        state.pending[seq] = body
        self._events.append(Record(state, seq, kind, body))
        if kind == GAP:
            self._gap(state, seq, pdu)

    def _ack_again(self, due: Due, now_ms: int) -> None:
        """What is stored came again, so an ACK was lost, or the board changed links.

        An ACK now would say that what came before it, and is being stored, was lost.
        """
        if due.last in due.state.pending:
            due.hurry(due.last)
            now_ms += ACK_DELAY_MS
        self._replies.ack_at(due, now_ms)

    def _pending_again(self, due: Due, seq: int, body: bytes, now_ms: int) -> None:
        """It came again before it was stored, perhaps on another link: the board waits."""
        self._count("duplicate")
        due.hurry(seq)
        self._replies.ack_at(due, now_ms + ACK_DELAY_MS)  # the other link's program tells only there
        if due.state.pending[seq] != body:
            self.conflict(due.state.stream, seq, now_ms)
            self._violate("conflict", "stream %d seq %d" % (due.state.stream, seq))

    def _part(self, due: Due, kind: int, fields: "list[Any]", now_ms: int) -> "bytes | None":
        """A part of a record, which proves nothing; -> the whole as it would have come in one."""
        state = due.state
        seq, number, part = fields[2:5]
        if not state.is_new(seq):
            self._count("duplicate")
            self._replies.ack_at(due, now_ms)
            return None
        total, offset = (number, 0) if kind == FRAG0 else (0, number)
        try:
            whole = state.parts.add(seq, total, offset, part, now_ms)
        except ValueError as error:
            self._count(error.args[0])
            return None
        if whole is None:
            missing = state.parts.missing(seq)
            if missing and due.wishes.allow(now_ms):
                self._replies.need(due, messages.NEED_FRAGMENTS, [seq] + missing)
            return None
        e2e = splice(whole, state.stream) if len(whole) > 4 else b""
        if not is_record(head(e2e)[0]):
            raise PacketError("no record")
        return e2e

    def _gap(self, state: StreamState, seq: int, pdu: bytes) -> None:
        """What the board says it lost; a range that is not below its own record is not believed."""
        fields = parse(pdu).fields
        try:
            messages.check(fields)
        except ContentError:
            fields[3:5] = [0, 0]
        if 1 <= fields[3] <= fields[4] < seq:
            self._events.append(GapFound(state, fields[3], fields[4], fields[5], seq))
        else:
            self._count("gap_invalid")

    def _control(
        self, due: Due, kind: int, e2e: bytes, now_ms: int, utc_ms: "int | None"
    ) -> None:
        fields = parse(e2e, self._mac_bytes if due.state.keys else 0).fields
        if kind == messages.PING:
            if self._replies.boards or due.pings.allow(now_ms):  # polled, it costs no answer
                self._replies.ack_at(due, now_ms)
            else:
                self._count("ping_limited")
        elif kind == messages.TIMEQ:
            if utc_ms is None:
                self._count("time_unknown")
            else:
                due.time = (fields[2], utc_ms, now_ms)
                self._replies.owe(due)
        elif messages.ACK <= kind <= messages.ERR:
            self._step(FOREIGN)
        else:
            self._count("unknown_control")

    # -- what went wrong

    def _complain(self, error: RemoteError, due: "Due | None", seq: int, now_ms: int) -> None:
        """Counts a packet that breaks the rules and says so; `due` and `seq` of authentic ones."""
        code = error.code
        names = {messages.ERR_LIMIT: "limit", messages.ERR_CONTENT: "content"}
        self._count(names.get(code, "malformed"))
        if code:
            self._replies.error(due, now_ms, code, error.reason, seq)

