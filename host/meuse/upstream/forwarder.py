"""All that waits for the host upstream, over one connection: this host as a relay, each board behind it as itself.

Each stream has an endpoint of the shared protocol, with the board's own key, so upstream sees the same numbers under
the same MACs whichever way a record takes, and stores it once. Streams take turns, packet by packet. No IO.
"""

import hashlib
import heapq
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from meuse_protocol import states
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.errors import RemoteError
from meuse_protocol.messages import RELAYS, head
from meuse_protocol.reactions import Command, Needed

from meuse.upstream.backlog import New, Waiting

# A packet upstream takes at most this (protocol 3.1).
MTU: Final = 4096
WINDOW: Final = 32

# So many HELLOs may be unanswered at a time: upstream falls silent towards who sends it many that do not hold.
GREETINGS: Final = 8
GREETING_MS: Final = 5_000

# A board that upstream does not answer within this is one whose key it does not have.
UNKNOWN_MS: Final = 60_000


class _Nothing:
    """The log of a stream in which nothing is ever written."""

    def oldest(self) -> int:
        return 1

    def next_seq(self) -> int:
        return 1

    def get(self, seq: int) -> bytes | None:
        return None

    def acked(self, cum: int, ranges: Iterable[tuple[int, int]]) -> None:
        pass


class _Gateway(BoardEndpoint):
    features = RELAYS


class _Carried:
    """A board's endpoint, and whether its turn has come to say HELLO."""

    __slots__ = ("called_ms", "device", "endpoint", "told", "up")

    def __init__(self, waiting: Waiting, key: bytes) -> None:
        self.device = waiting.device
        self.endpoint = BoardEndpoint(waiting.device, waiting.stream, key, waiting, WINDOW)
        self.up = False
        self.called_ms = 0
        self.told = False


def own_stream(key: bytes) -> int:
    """This host's own stream: the same one after every start, without anything to remember."""
    return int.from_bytes(hashlib.sha256(b"meuse upstream" + key).digest()[:4], "big") | 1 << 31


class Forwarder:
    """`wanted(device, stream, event)`: upstream wants something of a board (Command, Needed).

    key_of: the key under which upstream knows a device.
    """

    def __init__(
        self,
        name: str,
        key_of: Callable[[str], bytes],
        wanted: Callable[[str, int, Command | Needed], None],
        nonce: Callable[[], int] = lambda: secrets.randbits(32),
    ) -> None:
        self.counters: dict[str, int] = {}
        self.sent = 0
        self._key_of = key_of
        self._wanted = wanted
        self._nonce = nonce
        key = key_of(name)
        self._gateway = _Gateway(name, own_stream(key), key, _Nothing())
        self._boards: dict[int, _Carried] = {}
        self._greeting: set[int] = set()
        self._waiting: deque[int] = deque()  # streams that have not said HELLO on this connection
        self._turns: deque[int] = deque()  # streams that may have something to send
        self._turning: set[int] = set()
        self._alarms: list[tuple[int, int]] = []  # (ms, stream); what _due does not say is out of date
        self._due: dict[int, int] = {}

    # -- the program's side

    @property
    def is_open(self) -> bool:
        """Upstream knows this host and answers."""
        return self._gateway.state == states.READY

    def carry(self, waiting: Waiting) -> None:
        """One more stream; in the order in which they were bound, since a new one closes those before it."""
        if waiting.stream not in self._boards:
            self._boards[waiting.stream] = _Carried(waiting, self._key_of(waiting.device))
            self._waiting.append(waiting.stream)

    def added(self, new: New) -> None:
        """A record has become durable here."""
        board = self._boards[new.waiting.stream]
        # The live ones go first by themselves; one from before is passed over already, and would wait for long.
        board.endpoint.record_added(new.seq, new.late)
        self._turn(new.waiting.stream)

    def link_up(self, now_ms: int) -> None:
        self._gateway.link_up(now_ms, MTU, self._nonce())
        self._waiting = deque(self._boards)
        self._greeting.clear()

    def link_down(self, now_ms: int) -> None:
        self._gateway.link_down(now_ms)
        for board in self._boards.values():
            board.endpoint.link_down(now_ms)
            board.up = False
        self._waiting.clear()
        self._turns.clear()
        self._turning.clear()
        self._alarms.clear()
        self._due.clear()

    def unknown(self, now_ms: int) -> list[str]:
        """Devices that upstream has not answered for a while, each told once."""
        found = []
        for stream in self._greeting:
            board = self._boards[stream]
            if not board.told and now_ms - board.called_ms >= UNKNOWN_MS:
                board.told = True
                found.append(board.device)
        return found

    # -- packets

    def receive(self, e2e: bytes, now_ms: int) -> None:
        """One packet from upstream. Never raises for what the bytes say."""
        try:
            stream = head(e2e)[1]
        except RemoteError:
            self._count("malformed")
            return
        board = self._boards.get(stream)
        if board is not None:
            self._hear(stream, board, e2e, now_ms)
            return
        self._gateway.receive(e2e, now_ms)
        while self._gateway.next_event() is not None:
            pass
        if stream == 0:  # "who is there?"
            for stream, board in self._boards.items():
                if board.up:
                    self._hear(stream, board, e2e, now_ms)

    def _hear(self, stream: int, board: _Carried, e2e: bytes, now_ms: int) -> None:
        board.endpoint.receive(e2e, now_ms)
        while (event := board.endpoint.next_event()) is not None:
            if isinstance(event, Command | Needed):
                self._wanted(board.device, stream, event)
        if board.endpoint.state in (states.READY, states.HELD):
            self._greeting.discard(stream)
            board.told = False
        self._turn(stream)

    def next_packet(self, now_ms: int) -> bytes | None:
        """What goes now, None when nothing is due."""
        e2e = self._gateway.next_pdu(now_ms)
        if e2e is None and self._gateway.state in (states.READY, states.HELD):
            self._greet(now_ms)
            self._ring(now_ms)
            e2e = self._next(now_ms)
        self.sent += e2e is not None
        return e2e

    def deadline(self, now_ms: int) -> int | None:
        """When next_packet() will have something to do though nothing comes; None: never."""
        due_ms = [at_ms for at_ms in (self._gateway.deadline(),) if at_ms is not None]
        if self._turns:
            due_ms.append(now_ms)
        if self._waiting and self._gateway.state == states.READY:
            due_ms.append(now_ms + GREETING_MS)
        if self._alarms:
            due_ms.append(self._alarms[0][0])
        return min(due_ms) if due_ms else None

    # -- inside

    def _greet(self, now_ms: int) -> None:
        """HELLOs, a few at a time; who has no answer for a while no longer keeps the next one waiting."""
        if self._gateway.state != states.READY:
            return
        open_ = sum(now_ms - self._boards[stream].called_ms < GREETING_MS for stream in self._greeting)
        while self._waiting and open_ < GREETINGS:
            stream = self._waiting.popleft()
            board = self._boards[stream]
            board.endpoint.link_up(now_ms, MTU, self._nonce())
            board.up, board.called_ms = True, now_ms
            self._greeting.add(stream)
            self._turn(stream)
            open_ += 1

    def _turn(self, stream: int) -> None:
        if stream not in self._turning and self._boards[stream].up:
            self._turning.add(stream)
            self._turns.append(stream)

    def _next(self, now_ms: int) -> bytes | None:
        while self._turns:
            stream = self._turns.popleft()
            self._turning.discard(stream)
            endpoint = self._boards[stream].endpoint
            e2e = endpoint.next_pdu(now_ms)
            if e2e is not None:
                self._turn(stream)
                return e2e
            due_ms = endpoint.deadline()
            if due_ms is not None:
                self._wake(stream, max(due_ms, now_ms + 1))
        return None

    def _wake(self, stream: int, at_ms: int) -> None:
        """One alarm per stream: an earlier one finds nothing to do, and sets the next."""
        if self._due.get(stream, at_ms + 1) > at_ms:
            self._due[stream] = at_ms
            heapq.heappush(self._alarms, (at_ms, stream))

    def _ring(self, now_ms: int) -> None:
        while self._alarms and self._alarms[0][0] <= now_ms:
            at_ms, stream = heapq.heappop(self._alarms)
            if self._due.get(stream) == at_ms:
                del self._due[stream]
                self._turn(stream)

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
