"""What a host owes to the boards on one link: WELCOME, TIME, ACK, NEED, ERR, CMD, and by when.

Owns the coalescing of ACKs and the rates of what a stranger can provoke. Decides nothing about
what came in.
"""

from . import messages
from .auth import DOWN, mac
from .errors import LocalError
from .host_stream import StreamState
from .messages import VERSION, record, splice
from .rate import Patience, Rate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

FEATURES = 0
ACK_EVERY = 2  # records: half the ACKs for one more one-way delay at worst
ACK_DELAY_MS = 250
ACKS = (ACK_EVERY, ACK_DELAY_MS)  # where answers are dear, rarer
PAIRS_MAX = 16  # (gap, run) pairs in one ACK: as many holes as half a window can have
STREAMS_MAX = 1024  # remembered on one link; others are found again through the directory
COMMANDS_MAX = 32  # waiting for one stream: as many as a board remembers
NEEDS_MAX = 4
AT_ONCE_MAX = 64
SECOND_MS = 1000
MTU_DEFAULT_BYTES = 1024


class Due:
    """What is owed to one stream on this link."""

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self.mtu_bytes = MTU_DEFAULT_BYTES
        self.nonce: int | None = None  # of the HELLO answered last
        self.alias = 0  # on a wire with several boards: what its board was told to call the stream
        self.aliased = False  # the board has used it since it was last polled
        self.packets = 0  # authentic ones that came under this stream
        self.last = 0  # seq of the record that came here last
        self.at_once: set[int] = set()  # seqs to acknowledge the moment they are stored
        self.stored = 0  # records stored since the last ACK
        self.ack_ms: int | None = None  # when the ACK must be gone
        self.patience: Patience | None = None  # behind a relay: with those who forge this stream
        self.pings = Rate(1, SECOND_MS)
        self.wishes = Rate(1, SECOND_MS)  # for parts of a record
        self.welcome = False
        self.time: tuple[int, int, int] | None = None  # token, utc_ms and now_ms of a TIMEQ
        self.needs: list[tuple[int, list[int] | None]] = []
        self.errors: list[tuple[Any, ...]] = []  # code, text and perhaps seq
        self.commands: list[tuple[Any, ...]] = []

    def hurry(self, seq: int) -> None:
        """This one is to be acknowledged the moment it is stored."""
        if len(self.at_once) >= AT_ONCE_MAX:  # stored by way of other links: only slower without
            self.at_once.clear()
        self.at_once.add(seq)

    def at(self, now_ms: int) -> "int | None":
        """When something must go; None when nothing is owed."""
        if self.welcome or self.time or self.needs or self.errors or self.commands:
            return now_ms
        return self.ack_ms


class Replies:
    """The outgoing half of a host endpoint. `bound`: whose stream is called 0 here, if any.

    boards: how many there may be on a wire they share, each called by an alias; 0: there is but one.
    several: a relay sends other boards' packets along with its own, so that nothing is called 0.
    """

    def __init__(
        self, mac_bytes: int, window: int, boards: int = 0, acks: "tuple[int, int]" = ACKS
    ) -> None:
        self._acks = acks
        self.window = window
        self.boards = boards
        self.several = False
        self.bound: Due | None = None
        self.aliases: dict[int, Due] = {}
        self.dues: dict[int, Due] = {}
        self._mac_bytes = mac_bytes
        self._owing: dict[int, Due] = {}
        self._unsigned: list[bytes] = []
        self._need_rate = Rate(1, SECOND_MS)
        self._error_rate = Rate(1, SECOND_MS)

    def of(self, state: StreamState) -> Due:
        """The debts to a stream; remembered while there is room."""
        due = self.dues.get(state.stream)
        if due is None:
            if len(self.dues) >= STREAMS_MAX:
                self.dues = dict(self._owing)
                self.dues.update([(one.state.stream, one) for one in self.aliases.values()])
            due = self.dues[state.stream] = Due(state)
        return due

    def owe(self, due: Due) -> None:
        self._owing[due.state.stream] = due

    # -- what streams are called

    def called(self, short: int) -> "Due | None":
        """Whose stream is called 0, or by an alias."""
        return self.aliases.get(short) if short else self.bound

    def share(self) -> None:
        """From now on this link has several streams, each under its full id."""
        self.several = True
        self.bound = None

    def bind(self, due: Due) -> bool:
        """Its board said HELLO: it may use a short name from now on; False: none is left."""
        if not self.boards:
            self.bound = None if self.several else due
            return True
        if not due.alias:
            free = [n for n in range(1, self.boards + 1) if n not in self.aliases]
            if not free:
                return False
            due.alias = free[0]
            self.aliases[due.alias] = due
        due.aliased = False
        return True

    def release(self, due: Due) -> None:
        """Its board is gone from this wire: the alias may be another's."""
        if self.aliases.pop(due.alias, None) is not None:
            due.alias = 0
            due.aliased = False

    # -- what is owed

    def ack_at(self, due: Due, at_ms: int) -> None:
        """An ACK by `at_ms` at the latest; where boards are polled it goes in front of the POLL."""
        if self.boards:
            return
        if due.ack_ms is None or at_ms < due.ack_ms:
            due.ack_ms = at_ms
        self.owe(due)

    def ack_stored(self, due: Due, seqs: list[int], now_ms: int) -> None:
        """Records became durable: at once where the board waits for it, else coalesced."""
        due.stored += len(seqs)
        every, delay_ms = self._acks
        urgent = due.stored >= min(every, max(1, self.window // 2))
        if due.at_once:
            urgent = urgent or any([seq in due.at_once for seq in seqs])
            due.at_once.difference_update(seqs)
        self.ack_at(due, now_ms if urgent else now_ms + delay_ms)

    def ack_all(self, now_ms: int) -> None:
        """The window changed: everyone is told."""
        for stream in list(self.dues):
            self.ack_at(self.dues[stream], now_ms)

    def need_hello(self, stream: int, now_ms: int, call: "list[int] | None" = None) -> None:
        """"Who is there?", without a MAC; at most once a second on a link. call: of a wire with several boards."""
        if self._need_rate.allow(now_ms):
            body = (messages.NEED_HELLO, call) if call else (messages.NEED_HELLO,)
            self._unsigned = self._unsigned[-1:] + [splice(record(messages.NEED, *body), stream)]

    def need(self, due: Due, what: int, items: "list[int] | None") -> None:
        if (what, items) not in due.needs:
            due.needs = due.needs[1 - NEEDS_MAX :] + [(what, items)]
            self.owe(due)

    def error(
        self, due: "Due | None", now_ms: int, code: int, text: str, seq: int = 0, stream: int = 0
    ) -> bool:
        """ERR to a stream, or without a MAC to who is called `stream`; -> False: no more this second."""
        if not self._error_rate.allow(now_ms):
            return False
        body = (code, text, seq) if seq else (code, text)
        if due is None:
            self._unsigned = self._unsigned[-1:] + [splice(record(messages.ERR, *body), stream)]
        else:
            due.errors = [body]
            self.owe(due)
        return True

    def command(self, due: Due, body: "tuple[Any, ...]") -> None:
        """One CMD; nothing if the same still waits for a wire that takes it."""
        if body in due.commands:
            return
        if len(due.commands) >= COMMANDS_MAX:
            raise LocalError("more than %d commands wait" % COMMANDS_MAX)
        due.commands.append(body)
        self.owe(due)

    # -- what goes

    def poll(self, due: Due, credit: int) -> list[bytes]:
        """A board's turn: POLL, and in front of it an ACK where there are holes that cum does not tell.

        A board that has not used its alias since the last POLL may not know it (any more).
        """
        packets = [self._ack(due)] if due.state.covered.gaps(1) else []
        cum = min(due.state.cum, 0xFFFFFFFF)
        packets = [self._seal(due, body) for body in packets + [record(messages.POLL, cum, credit)]]
        due.aliased = False
        return packets

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when nothing is due."""
        if self._unsigned:
            return self._unsigned.pop(0)
        for stream in self._owing:
            due = self._owing[stream]
            at_ms = due.at(now_ms)
            if at_ms is not None and at_ms <= now_ms:
                body = self._next(due, now_ms)
                if due.at(now_ms) is None:
                    del self._owing[stream]
                return self._seal(due, body)
        return None

    def deadline(self, now_ms: int) -> "int | None":
        """When next_pdu() will have something; None when nothing is owed."""
        if self._unsigned:
            return now_ms
        earliest = None
        for due in self._owing.values():
            at_ms = due.at(now_ms)
            if at_ms is not None and (earliest is None or at_ms < earliest):
                earliest = at_ms
        return earliest

    def _next(self, due: Due, now_ms: int) -> bytes:
        if due.welcome:
            due.welcome = False
            called = due.state.stream if self.several else due.alias
            numbers = (VERSION, FEATURES, called, due.state.cum, self.window, due.nonce)
            return record(messages.WELCOME, *numbers)
        if due.time:
            token, utc_ms, came_ms = due.time
            due.time = None
            return record(messages.TIME, token, utc_ms, now_ms - came_ms)
        if due.ack_ms is not None and due.ack_ms <= now_ms:
            return self._ack(due)
        if due.needs:
            return record(messages.NEED, *due.needs.pop(0))
        if due.errors:
            return record(messages.ERR, *due.errors.pop(0))
        return record(messages.CMD, *due.commands.pop(0))

    def _ack(self, due: Due) -> bytes:
        due.ack_ms = None
        due.stored = 0
        covered = due.state.covered
        cum = min(covered.cum, 0xFFFFFFFF)
        pairs = covered.gaps(PAIRS_MAX)
        while True:
            body = record(messages.ACK, cum, self.window, *([None] + pairs if pairs else []))
            if not pairs or len(body) + 5 + self._mac_bytes <= due.mtu_bytes:
                return body
            pairs = pairs[:-2]

    def _seal(self, due: Due, body: bytes) -> bytes:
        state = due.state
        if not state.keys:  # without a MAC only the full id says which stream is meant
            return splice(body, state.stream)
        short = due.alias if due.aliased else state.stream
        e2e = splice(body, 0 if due is self.bound else short)
        return e2e + mac(state.keys[0][1], DOWN, state.stream, body, self._mac_bytes)
