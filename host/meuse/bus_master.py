"""Whose turn it is on a wire that several boards share (protocol 3.4, RS-485): polls, calls, waits. No IO, no clock.

One party speaks at a time. The master gives each known board its turn as often as it is to be asked, sooner while it
has more to say and ever more rarely while it does not answer; between turns it calls boards it does not know yet. A
turn is over when the wire was silent for so long that nobody can be in the middle of a packet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from meuse_protocol.framing import frame
from meuse_protocol.host_endpoint import HostEndpoint
from meuse_protocol.host_stream import StreamState

BITS_PER_CHARACTER = 10  # 8N1
SILENT_CHARACTERS = 20  # with SILENT_MS: the end of a turn
SILENT_MS = 5
GLITCH_BYTES = 3  # more is no mere change of who drives the wire
CARRIED_OUT_MS = 300  # a command, with its writes to flash: so often its board is asked what became of it ...
COMMANDED_MS = 1_000  # ... for so long: then the command goes again
ANSWER_MS = 150  # a board that reads sensors or writes flash begins so late, at worst
CREDIT = 4  # packets in a turn: what a few seconds bring, and a board without news costs nobody anything
CREDIT_MAX = 16  # of a board with a backlog: half a window, and the others wait half a minute at worst
LONGEST_CHARACTERS = 1100  # a packet of 1,024 bytes in its frame
MISSES = 4  # turns without an answer after which a board counts as lost
LONGEST_PAUSE_MS = 60_000  # between two polls of a board that does not answer
FORGET_MS = 3_600_000  # then its alias is free; it comes back like a new one
SLOTS_MIN, SLOTS_MAX = 8, 32  # per call; twice as many after a collision
SLOT_CHARACTERS = 130  # a HELLO that lists ten schemas
SLOT_SPARE_MS = 25  # a board is late by 20 ms at most
CALL_AGAIN_MS = 1_100  # after a call that was answered; a board says HELLO once a second at most
CALL_OFTEN_MS = 5_000  # while boards are missing
CALL_RARELY_MS = 30_000


@dataclass(slots=True)
class Polled:
    """One board on the wire."""

    state: StreamState
    due_ms: int
    credit: int = CREDIT
    misses: int = 0
    commanded_ms: int = 0  # until then a RESULT is awaited
    again: bool = False  # the last turn was damaged: this one makes up for it
    heard_ms: int = 0

    @property
    def lost(self) -> bool:
        return self.misses >= MISSES


class BusMaster:
    """`step` says what to send now; call it when bytes came, when the endpoint has news, and at `due_ms`.

    baud: of the wire. poll_ms: how often a board without backlog is asked. latency_ms: by how much adapter and system
    may be late with what the wire brought. run: random, other for every start of the master (u32).
    """

    def __init__(self, endpoint: HostEndpoint, baud: int, poll_ms: int, latency_ms: int, run: int) -> None:
        self.boards: dict[int, Polled] = {}
        self.held = False  # nothing can be taken now: nobody is asked
        self.due_ms = 0
        self.busy_ms = 0  # how long the wire was given to somebody
        self.polls = self.calls = self.unanswered = 0
        self._endpoint = endpoint
        self._character_ms = 1000 * BITS_PER_CHARACTER / baud
        self._silent_ms = self._ms(SILENT_CHARACTERS) + SILENT_MS + latency_ms
        self._poll_ms = poll_ms
        self._latency_ms = latency_ms
        self._run = run
        self._free_ms = self._began_ms = self._longest_ms = 0
        self._turn: Polled | None = None
        self._calling = False
        self._packets = 0  # of that board when its turn began
        self._heard = 0  # bytes since then
        self._damaged = False
        self._slots = SLOTS_MIN
        self._call_ms = 0
        self._changed: list[Polled] = []

    # -- what the wire brings

    def heard(self, count: int, now_ms: int) -> None:
        """So many bytes came, whatever they say: somebody speaks."""
        until_ms = now_ms + self._silent_ms
        if now_ms >= self._free_ms:  # nobody's turn
            self._longest_ms = now_ms + self._ms(LONGEST_CHARACTERS)
            self._free_ms = self._began_ms = now_ms
        self._heard += count
        if self._turn is not None and GLITCH_BYTES < self._heard <= GLITCH_BYTES + count:
            self._free_ms = until_ms  # the answer has begun: no need to wait for its beginning any more
        self._free_ms = min(max(self._free_ms, until_ms), max(self._longest_ms, now_ms))

    def damaged(self) -> None:
        """What came was no frame: noise, or two at once."""
        self._damaged = True

    def joined(self, state: StreamState, now_ms: int) -> None:
        """A HELLO that holds; older streams of the same device are over."""
        for stream, board in list(self.boards.items()):
            if board.state.device == state.device and stream != state.stream:
                self._forget(stream)
        if state.stream not in self.boards:
            self.boards[state.stream] = Polled(state, now_ms, heard_ms=now_ms)
        elif self.boards[state.stream] is not self._turn:
            self.boards[state.stream].due_ms = now_ms

    def commanded(self, stream: int, now_ms: int) -> None:
        """This board gets a CMD: its RESULT need not wait for its usual turn. Not where it does not answer anyway."""
        board = self.boards.get(stream)
        if board is not None and not board.misses:
            board.commanded_ms = now_ms + COMMANDED_MS
            board.due_ms = min(board.due_ms, now_ms + CARRIED_OUT_MS)

    def changes(self) -> Iterator[Polled]:
        """Boards that stopped answering, or answer again, since the last time."""
        changed, self._changed = self._changed, []
        yield from changed

    # -- what the wire gets

    def over(self, now_ms: int) -> bool:
        """The turn is over: what was not a whole frame by now never will be."""
        return now_ms >= self._free_ms

    def step(self, now_ms: int) -> bytes:
        """Frames to send at once, b"" for none; `due_ms` is when to ask again."""
        self.due_ms = self._free_ms
        if now_ms < self._free_ms:
            return b""
        if self.held:
            self._turn, self._calling = None, False  # its answer was not read
            self.due_ms = now_ms + 1000
            return b""
        self._close(now_ms)
        packets = []
        while (e2e := self._endpoint.next_pdu(now_ms)) is not None:
            packets.append(e2e)
        wait_ms = self._silent_ms
        board = self._next(now_ms)
        if now_ms >= self._call_ms:
            wait_ms = self._call(now_ms, packets)
        elif board is not None:
            self._turn = board
            self._packets = self._endpoint.packets(board.state.stream)
            packets += self._endpoint.poll(board.state.stream, board.credit)
            self.polls += 1
            wait_ms = ANSWER_MS + self._latency_ms
        elif not packets:
            self.due_ms = self._wake(now_ms)
            return b""
        return self._send(packets, wait_ms, now_ms)

    def _send(self, packets: list[bytes], wait_ms: int, now_ms: int) -> bytes:
        data = b"\0" + b"".join(frame(e2e) for e2e in packets)  # the wire may have floated since
        credit = self._turn.credit if self._turn else 1
        self._began_ms = now_ms
        self._free_ms = self.due_ms = now_ms + self._ms(len(data)) + wait_ms
        self._longest_ms = self._free_ms + self._ms(credit * LONGEST_CHARACTERS)
        self._heard = 0
        self._damaged = False
        return data

    def _call(self, now_ms: int, packets: list[bytes]) -> int:
        """Adds a call; how long its slots take."""
        slot_ms = self._ms(SLOT_CHARACTERS) + SLOT_SPARE_MS
        self._endpoint.call(now_ms, [self._slots, slot_ms, self._run])
        while (e2e := self._endpoint.next_pdu(now_ms)) is not None:
            packets.append(e2e)
        self._calling = True
        self._turn = None
        self.calls += 1
        missing = not self.boards or any(board.lost for board in self.boards.values())
        self._call_ms = now_ms + (CALL_OFTEN_MS if missing else CALL_RARELY_MS)
        return self._slots * slot_ms + self._silent_ms

    # -- the end of a turn

    def _close(self, now_ms: int) -> None:
        """The wire is free again: what came of it?"""
        self.busy_ms += max(0, self._free_ms - self._began_ms)
        self._began_ms = self._free_ms
        if self._calling:
            self._calling = False
            self._called(now_ms)
        board, self._turn = self._turn, None
        if board is not None and board.state.stream in self.boards:
            packets = self._endpoint.packets(board.state.stream) - self._packets
            if packets:
                self._took(board, packets, now_ms)
            else:
                self._missed(board, now_ms)

    def _called(self, now_ms: int) -> None:
        """After a call: whoever answered may not have been alone."""
        if self._damaged:
            self._slots = min(2 * self._slots, SLOTS_MAX)
        else:
            self._slots = max(self._slots // 2, SLOTS_MIN)
        if self._heard > GLITCH_BYTES:
            self._call_ms = min(self._call_ms, now_ms + CALL_AGAIN_MS)

    def _took(self, board: Polled, packets: int, now_ms: int) -> None:
        if board.lost:
            self._changed.append(board)
        board.misses = 0
        board.heard_ms = now_ms
        more = packets >= board.credit
        board.again = self._damaged and not board.again
        board.credit = min(2 * board.credit, CREDIT_MAX) if more else CREDIT
        pause_ms = min(CARRIED_OUT_MS, self._poll_ms) if now_ms < board.commanded_ms else self._poll_ms
        board.due_ms = now_ms + (0 if more or board.again else pause_ms)

    def _missed(self, board: Polled, now_ms: int) -> None:
        """Once may be noise: it is asked again at once, then later each time."""
        self.unanswered += 1
        board.misses += 1
        if board.misses == MISSES:
            self._changed.append(board)
            self._call_ms = min(self._call_ms, now_ms + CALL_OFTEN_MS)
        pause_ms = self._poll_ms << min(board.misses - 1, 16) if board.misses > 1 else 0
        board.due_ms = now_ms + min(pause_ms, max(self._poll_ms, LONGEST_PAUSE_MS))
        if now_ms - board.heard_ms >= FORGET_MS:
            self._forget(board.state.stream)

    def _forget(self, stream: int) -> None:
        board = self.boards.pop(stream)
        self._endpoint.release(stream)
        if not board.lost:
            board.misses = MISSES
            self._changed.append(board)

    # -- who is next

    def _ready(self, board: Polled) -> bool:
        """What it sent is stored: a POLL says so, and what it does not name counts as lost."""
        return not board.state.pending

    def _next(self, now_ms: int) -> Polled | None:
        due = [board for board in self.boards.values() if board.due_ms <= now_ms and self._ready(board)]
        return min(due, key=lambda board: board.due_ms, default=None)

    def _wake(self, now_ms: int) -> int:
        """When the next thing is due; what is being stored comes by itself."""
        times = [self._call_ms] + [board.due_ms for board in self.boards.values() if self._ready(board)]
        due_ms = self._endpoint.deadline(now_ms)
        if due_ms is not None:
            times.append(due_ms)
        return max(min(times), now_ms + 1)

    def _ms(self, characters: int) -> int:
        return math.ceil(characters * self._character_ms)
