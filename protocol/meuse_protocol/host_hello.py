"""Who speaks on a host's end of one link: HELLO, who is believed, and for how long nobody is. No IO.

Owns the link's state (host_states.HOST), its counters and its events, and every bound on what
strangers can cause. Refuses to know what comes in besides HELLO: host_endpoint goes on from here.
"""

from collections import namedtuple

from . import messages, states
from .auth import UP, equal, mac
from .errors import ContentError
from .host_replies import Due, Replies
from .host_states import FLOOD, FORGED, HELLO_BAD, HELLO_GOOD, HOST, MUTE, OPEN
from .host_stream import StreamState, stream_keys
from .messages import VERSION, parse
from .msgpack import scan
from .rate import Patience, Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any, Directory

EVENTS_MAX = 4096
FORGED_MAX = 10  # within a second; more and nothing is read for MUTE_MS
SECOND_MS = 1000
MUTE_MS = 10000

# A HELLO that verifies and is no repetition.
Hello = namedtuple(
    "Hello", ("state", "new", "version", "oldest", "next_seq", "mtu", "window", "schemas")
)
# first .. last will not come: make it durable, then call gap_stored(). source: seq of the GAP
# record that says so, 0 when it is this host that noticed.
GapFound = namedtuple("GapFound", ("state", "first", "last", "reason", "source"))
Violation = namedtuple("Violation", ("counter", "detail"))


class Greeter:
    """One link, as far as HELLO goes. See HostEndpoint."""

    def __init__(
        self, directory: "Directory", trusted: bool, mac_bytes: int, replies: Replies
    ) -> None:
        self.state = OPEN
        self.counters: dict[str, int] = {}
        self._directory = directory
        self._trusted = trusted
        self._mac_bytes = mac_bytes
        self._events: list[Any] = []
        self._replies = replies
        self._forged = Rate(FORGED_MAX, SECOND_MS)
        self._patience = Patience(FORGED_MAX, SECOND_MS, MUTE_MS)  # with HELLOs behind a relay
        self._mute_ms = 0

    @property
    def several(self) -> bool:
        """A relay has said HELLO here: packets of many boards come over this link."""
        return self._replies.several

    def next_event(self) -> "Any":
        """The oldest event not yet taken, None when there is none."""
        return self._events.pop(0) if self._events else None

    def _hello(self, e2e: bytes, stream: int, now_ms: int) -> None:
        pdu = parse(e2e, len(e2e) - scan(e2e))
        version, _, oldest, next_seq = pdu.fields[2:6]
        name = pdu.fields[8]
        if stream < 128 or not 1 <= oldest <= next_seq:
            raise ContentError("HELLO")
        state = self._directory.stream(stream)
        psks = self._directory.keys(name)
        keys = [stream_keys(psk, stream) for psk in psks or ()]
        signer = self._signer(keys, stream, pdu)
        if psks is None:
            self._refuse("unknown_device", name, stream, now_ms)
        elif keys and signer is None:
            self._forgery(now_ms)
            self._refuse("bad_hello", name, stream, now_ms)
        elif not keys and (pdu.mac or not self._trusted or self.several):
            self._refuse("untrusted", name, stream, now_ms)
        elif state is not None and state.device != name:
            self._refuse("stream_of_another", name, stream, now_ms)
        elif version >> 4 < VERSION >> 4:
            self._step(HELLO_BAD, "version")
            due = Due(state or StreamState(stream, name, psks))
            text = "%d.%d" % (VERSION >> 4, VERSION & 15)
            self._replies.error(due, now_ms, messages.ERR_VERSION, text + ".." + text)
        else:
            new = state is None
            state = state or self._directory.bind(stream, name)
            if next_seq >= state.next_seq:
                state.keys = keys
                if signer:
                    state.prefer(signer)
            self._greet(self._replies.of(state), new, pdu.fields, now_ms)

    def _signer(self, keys: "list[Any]", stream: int, pdu: "Any") -> "int | None":
        """Which of the device's keys verifies this HELLO."""
        for i in range(len(keys) if pdu.mac else 0):
            if equal(mac(keys[i][0], UP, stream, pdu.record, self._mac_bytes), pdu.mac):
                return i
        return None

    def _refuse(self, refusal: str, name: str, stream: int, now_ms: int) -> None:
        if self.state == MUTE:
            return
        self._step(HELLO_BAD, refusal)
        called = stream if self.several else 0
        if self._replies.error(None, now_ms, messages.ERR_DEVICE, refusal, 0, called):
            # Anybody may have written this name: it must do no harm where people read it.
            shown = ["?" if not " " < letter <= "~" else letter for letter in name[:32]]
            self._violate(refusal, "".join(shown))

    def _greet(self, due: Due, new: bool, fields: "list[Any]", now_ms: int) -> None:
        """A HELLO that verifies: from now on stream 0 is this stream, unless a relay speaks here."""
        version, features, oldest, next_seq, mtu, window, _, schemas, nonce = fields[2:11]
        state = due.state
        if next_seq < state.next_seq:
            # Late, or replayed, or of a log put back to an older state: it changes nothing.
            self._step(HELLO_BAD, "hello_stale")
            text = "next %d, known %d" % (next_seq, state.next_seq)
            if self._replies.error(due, now_ms, messages.ERR_CONFLICT, text):
                self._violate("hello_stale", "stream %d: %s" % (state.stream, text))
            return
        if features & messages.RELAYS and state.keys and not self._replies.boards:
            self._replies.share()
        if not self._replies.bind(due):
            self._step(HELLO_BAD, "wire_full")
            return
        self._step(HELLO_GOOD)
        due.packets += 1
        state.next_seq = next_seq
        if nonce != due.nonce:
            hello = Hello(state, new, version, oldest, next_seq, mtu, window, schemas)
            self._events.append(hello)
        room = EVENTS_MAX - len(self._events)  # the next HELLO names the rest
        for first, last in state.holes(1, oldest - 1)[: max(0, room)]:
            self._events.append(GapFound(state, first, last, messages.GAP_UNANNOUNCED, 0))
        due.nonce = nonce
        due.mtu_bytes = mtu
        due.welcome = True
        if state.covered.count() > (1 if state.cum > 1 else 0):
            self._replies.ack_at(due, now_ms)  # WELCOME names only cum
        self._replies.owe(due)

    # -- what went wrong

    def _forgery(self, now_ms: int, due: "Due | None" = None) -> None:
        """Somebody writes what is not theirs to write: the link is not read for a while.

        Behind a relay only what was forged is not: HELLOs, or the packets of one stream.
        """
        self._step(FORGED, "bad_mac")
        if self.several:
            patience = self._patience
            if due:
                patience = due.patience = due.patience or Patience(FORGED_MAX, SECOND_MS, MUTE_MS)
            if patience.wrong(now_ms):
                what = "of stream %d" % due.state.stream if due else "HELLOs"
                self._violate("flood", "more than %d forged packets %s in a second" % (FORGED_MAX, what))
        elif not self._forged.allow(now_ms):
            self._step(FLOOD)
            self._replies.bound = None
            self._mute_ms = now_ms + MUTE_MS
            self._violate("flood", "more than %d forged packets in a second" % FORGED_MAX)

    def _step(self, event: int, counter: str = "") -> None:
        """Moves as the table says. What it has not, and what has a name, is counted."""
        state = states.after(HOST, self.state, event)
        if counter or not state:
            self._count(counter or "unexpected")
        self.state = state or self.state

    def _violate(self, counter: str, detail: str) -> None:
        self._events.append(Violation(counter, detail))

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
