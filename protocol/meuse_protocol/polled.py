"""The board's end of a wire with several boards (RS-485): it speaks when the master says so, never else.

Adds turns to BoardEndpoint. A turn begins with POLL and ends with its credit, with nothing more to
say, or with anything else that is heard. Boards that nobody knows yet answer a call in a slot that
chance gives them. Timers of records run in turns: what a turn sent is acknowledged by the next
POLL, or it is lost; between polls a board may be silent for minutes and has lost nothing.
"""

from .board_endpoint import SECOND_MS
from .errors import RemoteError
from .messages import ACK, ERR, HELLO, NEED, NEED_HELLO, PING, POLL, head, record, splice
from .ranges import Ranges
from .shared_endpoint import Handed, SharedEndpoint
from .states import ACKED, ACKED_HELD, CALLED, HELD, READY, SILENCE
from .window import BACKOFF_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Aes, Any, Log

SLOTS_MAX = 64
SLOT_MAX_MS = 10000
LATE_MS = 20  # a HELLO that comes later than this into its slot could reach into the next one
UNPOLLED_MS = 150000  # the master knows us no more: it asks once a minute even who never answers
# Where other links could carry the stream nobody waits so long: three of the pauses that this master makes.
PAUSES = 3
PATIENCE_MS = 2000  # at least


class Turns(Handed):
    """What is in flight, in turns instead of milliseconds."""

    def deadline(self) -> "int | None":
        return None

    def acked(self, stored: Ranges, now_ms: int, limit: int) -> int:
        news = super().acked(stored, now_ms, limit)
        if news:
            self.timeouts = 0
        return news

    def begin(self) -> None:
        """A new turn: what the last one sent, and the host has not named by now, did not arrive."""
        if self._flight:
            self.timeouts = min(self.timeouts + 1, BACKOFF_MAX)
            self.lost = sorted(self.lost + [item[0] for item in self._flight])
            self._flight = []


class PolledEndpoint(SharedEndpoint):
    """See BoardEndpoint and SharedEndpoint. Pull next_pdu() after every receive(), and when deadline() comes."""

    Flight = Turns

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
        self._shared = False  # a supervisor has other links
        # How long the master leaves a board alone that had nothing more to say; 0: not known yet.
        self._pause_ms = 0
        super().__init__(device, stream, psk, log, window, mac_bytes, aes)

    def _reset(self, now_ms: int, mtu: int, nonce: int, ordered: bool) -> None:
        super()._reset(now_ms, mtu, nonce, ordered)
        self._credit = 0  # packets we may still send in this turn
        self._spoken = False
        self._turn_ms = 0  # when the last turn began
        self._spent = False  # and whether it ended with nothing more to say
        self._slot_ms: int | None = None  # when our HELLO goes, after a call
        self._run = -1  # of the master that was told our HELLO
        self._chance = nonce

    def carry(self, carried: int, now_ms: int) -> None:
        """See SharedEndpoint."""
        self._shared = True
        super().carry(carried, now_ms)

    # -- sending

    def next_pdu(self, now_ms: int) -> "bytes | None":
        """The packet to send now, None when it is not our turn (any more)."""
        if self.state == READY and now_ms >= self._heard_ms + self._patience_ms():
            self._step(SILENCE, now_ms)
        if self._slot_ms is not None and now_ms >= self._slot_ms:
            late_ms = now_ms - self._slot_ms
            self._slot_ms = None
            if late_ms <= LATE_MS:
                return self._control(HELLO, now_ms)
        if not self._credit:
            return None
        self._credit -= 1
        e2e = super().next_pdu(now_ms)
        if e2e is None:
            self._credit = 0
            self._spent = True
            if not self._spoken:  # the master can tell "nothing new" from "nobody there"
                e2e = splice(self._signed(record(PING)), self.stream)
        self._spoken = True
        return e2e

    def deadline(self) -> "int | None":
        """When next_pdu() will have something to do even if nothing comes in; None: never."""
        if self._credit:
            return self._heard_ms
        if self._slot_ms is not None:
            return self._slot_ms
        return self._heard_ms + self._patience_ms() if self.state == READY else None

    def _patience_ms(self) -> int:
        if not self._shared or not self._pause_ms:
            return UNPOLLED_MS
        return min(UNPOLLED_MS, max(PATIENCE_MS, PAUSES * self._pause_ms))

    # -- receiving

    def receive(self, e2e: bytes, now_ms: int) -> None:
        """One packet as it came out of its frame; most are for or from other boards."""
        self._credit = 0  # somebody else speaks
        try:
            kind, stream, _ = head(e2e)
        except RemoteError:
            self._count("malformed")
            return
        if kind >= ACK:
            self._slot_ms = None  # the master goes on
            if not stream or stream == self.stream or stream == self._short:
                super().receive(e2e, now_ms)

    def _handle(self, kind: int, fields: "list[Any]", authentic: bool, now_ms: int) -> None:
        if kind == POLL:
            self._polled(fields[2], fields[3], now_ms)
        elif kind == NEED and fields[2] == NEED_HELLO and not fields[1]:
            self._called(fields[3] or [], now_ms)
        # An ERR without a MAC is meant, on this wire, for a stranger.
        elif kind != ERR or authentic or not self._known(now_ms):
            super()._handle(kind, fields, authentic, now_ms)

    def _polled(self, cum: int, credit: int, now_ms: int) -> None:
        if self.state == READY and self._spent:  # else it was asked sooner than usual, or came back
            self._pause_ms = max(now_ms - self._turn_ms, self._pause_ms * 3 // 4)
        if not self._step(ACKED if self._win else ACKED_HELD, now_ms):
            return
        self._turn_ms = now_ms
        self._spent = False
        if cum >= self._stored.cum:
            self._learn(cum, [], now_ms)
        self._handed.begin()
        self._credit = credit
        self._spoken = False

    def _called(self, call: "list[Any]", now_ms: int) -> None:
        """Who is new may say HELLO: in one of so many slots, each so long, to this run of the master."""
        if len(call) < 3 or [x for x in call[:3] if type(x) is not int]:
            return
        slots, slot_ms, run = call[:3]
        if run == self._run and self._known(now_ms):
            return
        soon = now_ms < self._hello_at_ms + SECOND_MS  # anybody can write a call: one HELLO a second
        if soon or not (0 < slots <= SLOTS_MAX and 0 < slot_ms <= SLOT_MAX_MS):
            return
        if self._step(CALLED, now_ms):
            self._call(now_ms)
            self._run = run
            self._chance = (self._chance * 1664525 + 1013904223) & 0xFFFFFFFF
            self._slot_ms = now_ms + slot_ms * ((self._chance >> 16) % slots)

    def _known(self, now_ms: int) -> bool:
        """Welcomed, and not forgotten since."""
        welcomed = self.state == READY or self.state == HELD
        return welcomed and now_ms < self._heard_ms + UNPOLLED_MS
