"""What one commit carries: records and everything that must become durable with them."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Row(NamedTuple):
    """One record as it came: the columns of `records` in their order."""

    stream: int
    seq: int
    type: int
    received_ms: int  # UTC, milliseconds since 1970
    link: str
    record: bytes  # the PDU without its stream element


class Binding(NamedTuple):
    """A verified HELLO: this stream belongs to this device."""

    stream: int
    device: str
    at_ms: int
    next_seq: int  # what the board will use next
    new: bool = True  # the first HELLO of this stream ever: older streams of the device are over


class Gap(NamedTuple):
    """Records `first` to `last`, both included, will not come; reasons as in the protocol."""

    stream: int
    first: int
    last: int
    reason: int
    source: str  # "board" or "host"
    at_ms: int


class Event(NamedTuple):
    """Something a person may want to know afterwards; `kind` is a short fixed word."""

    at_ms: int
    device: str | None
    kind: str
    detail: str


class Twin(NamedTuple):
    """A record that came again, to be compared with the one in storage."""

    stream: int
    seq: int
    record: bytes


@dataclass(slots=True)
class Batch:
    """One transaction: all of it is durable, or none."""

    rows: list[Row] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    twins: list[Twin] = field(default_factory=list)
    bytes: int = 0  # of the records

    def empty(self) -> bool:
        return not (self.rows or self.bindings or self.gaps or self.events or self.twins)


class Outcome(NamedTuple):
    """What a commit found out."""

    last_id: int  # position of the newest record
    conflicts: list[tuple[int, int]]  # (stream, seq) that came with other bytes than stored
    learned: "tuple[Learned, ...]" = ()  # streams of which another host knew more


class Learned(NamedTuple):
    """What is durable of a stream now, and whose it is; the sets as `RangeSet.to_bytes` has them."""

    stream: int
    device: str
    next_seq: int
    received: bytes
    gapped: bytes
