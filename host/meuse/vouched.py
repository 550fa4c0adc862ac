"""Sorts the packets of one file: whose they are, which of them are authentic, which of those are stored already.

Judges by the rules of a host's endpoint, on what the journal says now, and changes nothing: what it finds is for the
host that owns the journal, which judges once more.
"""

from dataclasses import dataclass, field

from meuse_protocol.errors import RemoteError
from meuse_protocol.host_endpoint import Duplicate, GapFound, Hello, HostEndpoint, Record, Violation
from meuse_protocol.host_replies import Replies
from meuse_protocol.host_stream import StreamState
from meuse_protocol.messages import HELLO, head, is_record, parse, splice
from meuse_protocol.received import RangeSet

from meuse.fast_check import check
from meuse.journal.sql import Database
from meuse.keys import DEVICE_ID, KeyStore

# As on every link between a board and a host that is not of tiny packets.
MAC_BYTES = 8

# What a board that gets the acknowledgement may have in flight, on the link it uses then.
WINDOW = 32

# A second for each packet, so that a file with many forgeries mutes nobody.
STEP_MS = 1000


@dataclass
class Part:
    """One stream in one file."""

    stream: int
    device: str = ""
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    """What goes to the host, in order, under the full stream id: (seq, packet), seq 0 for a HELLO."""
    new: int = 0
    known: int = 0
    refused: int = 0
    reasons: set[str] = field(default_factory=set)
    next_seq: int = 0
    """As the HELLO says that goes to the host; 0 if none does."""


class Known:
    """The directory as the journal and the key files say it; what is bound here is bound nowhere else."""

    def __init__(self, db: Database, keys: KeyStore, trusted: bool) -> None:
        self._db = db
        self._keys = keys
        self._trusted = trusted
        self._states: dict[int, StreamState] = {}

    def keys(self, device: str) -> list[bytes] | None:
        keys = self._keys.keys(device)
        keyless = self._trusted and DEVICE_ID.fullmatch(device) and not self._keys.exists(device)
        return [] if keys is None and keyless else keys

    def stream(self, stream: int) -> StreamState | None:
        if stream not in self._states:
            state = stored_state(self._db, stream)
            if state is None:
                return None
            state.set_keys(self.keys(state.device) or [])
            self._states[stream] = state
        return self._states[stream]

    def bind(self, stream: int, device: str) -> StreamState:
        state = self._states[stream] = StreamState(stream, device, self.keys(device) or [])
        return state


def stored_state(db: Database, stream: int) -> StreamState | None:
    """What is durable of a stream; None when the journal does not know it. Without keys."""
    row = db.execute("SELECT device, received, gapped, next_seq FROM streams WHERE stream = ?", (stream,)).fetchone()
    if row is None:
        return None
    device, received, gapped, next_seq = row
    return StreamState(stream, device, [], RangeSet.from_bytes(received), RangeSet.from_bytes(gapped), next_seq)


class Sorter:
    """`sort` the packets of one file; `parts` says what was found, `strays` counts what belongs to no stream."""

    def __init__(self, known: Known, trusted: bool) -> None:
        self.parts: dict[int, Part] = {}
        self.strays = 0
        self._known = known
        self._endpoint = HostEndpoint(known, trusted, MAC_BYTES, check=check)
        self._now_ms = 0
        self._speaker = 0  # who stream 0 is

    def sort(self, e2e: bytes) -> None:
        """One packet, in the order of the file."""
        try:
            kind, stream, seq = head(e2e)
        except RemoteError:
            self.strays += 1
            return
        if kind == HELLO:
            self._speaker = stream
        elif not is_record(kind):
            return  # what a cable carries besides: questions that nobody can answer any more
        stream = stream or self._speaker
        if not stream:
            self.strays += 1
            return
        part = self.parts.setdefault(stream, Part(stream))
        before = dict(self._endpoint.counters)
        known_next = self._next_seq(stream)
        self._now_ms += STEP_MS
        self._endpoint.receive(e2e, self._now_ms)
        if not self._take(part, e2e, seq or 0, known_next):
            part.refused += seq is not None
            after = self._endpoint.counters
            part.reasons |= {name for name in after if after[name] > before.get(name, 0)}

    def _next_seq(self, stream: int) -> int:
        state = self._known.stream(stream)
        return state.next_seq if state else 0

    def _take(self, part: Part, e2e: bytes, seq: int, known_next: int) -> bool:
        """What the endpoint says of it -> whether it is authentic."""
        hello, told, authentic = None, False, False
        while (event := self._endpoint.next_event()) is not None:
            if isinstance(event, Hello):
                hello = event
                part.device = event.state.device
            elif isinstance(event, GapFound):
                told = told or not event.source
                self._endpoint.gap_stored(part.stream, event.first, event.last, self._now_ms)
            elif isinstance(event, Record | Duplicate):
                authentic = True
                part.device = event.state.device
                self._record(part, e2e, seq, isinstance(event, Record))
            elif isinstance(event, Violation) and event.counter != "hello_stale":
                part.device = part.device or event.detail  # the name that was claimed
        if hello is not None and (hello.new or hello.next_seq > known_next or told):
            part.packets.append((0, e2e))  # it says something new; else it would only look like a visit
            part.next_seq = max(part.next_seq, hello.next_seq)
        return authentic or hello is not None

    def _record(self, part: Part, e2e: bytes, seq: int, new: bool) -> None:
        state = self._known.stream(part.stream)
        assert state is not None
        if new:
            part.new += 1
            self._endpoint.stored(part.stream, [seq], self._now_ms)
        else:
            part.known += 1
        pdu = parse(e2e, MAC_BYTES if state.keys else 0)
        part.packets.append((seq, splice(pdu.record, part.stream) + pdu.mac))

    def acknowledgement(self, db: Database, stream: int) -> bytes | None:
        """The ACK of what is durable now, under the key that the board uses; None for a stream nobody knows."""
        vouched, state = self._known.stream(stream), stored_state(db, stream)
        if vouched is None or state is None:
            return None
        state.keys = vouched.keys
        replies = Replies(MAC_BYTES, WINDOW)
        replies.ack_at(replies.of(state), 0)
        return replies.next_pdu(0)
