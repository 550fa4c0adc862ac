"""One connection: bytes from a wire → frames → endpoint → commit queue → acknowledgements → wire.

An adapter and nothing more: what a packet means is the endpoint's business, what is durable is the
journal's. Runs on the event loop; never waits.
"""

from typing import TYPE_CHECKING

from meuse_protocol.framing import FRAME, TEXT, Deframer
from meuse_protocol.host_endpoint import (
    Duplicate,
    GapFound,
    Hello,
    HostEndpoint,
    Record,
    Violation,
)
from meuse_protocol.messages import ANCHOR, BLOB, RESULT, SCHEMA

from meuse.deframer import FastDeframer, Packets
from meuse.journal.batch import Gap, Row, Twin
from meuse.links import Wire
from meuse.sender import Sender

if TYPE_CHECKING:
    from meuse.bridge import Bridge

# The largest packet a hub accepts (protocol 3.1) with room for a MAC of 16 bytes.
MAX_E2E_BYTES = 4096 + 16

# From a network, before anything held: many times what a board says until its HELLO is answered.
STRANGER_BYTES = 16 * 1024

# Of a session with one board. Never written to: thousands share it.
NOBODY: dict[int, str] = {}
NOTHING: dict[int, int] = {}


class Session(Sender):
    """Told by a link what came, told by the commit queue what is durable; a Receiver of both."""

    __slots__ = (
        "_bridge",
        "_counts",
        "_deframer",
        "_endpoint",
        "_lost",
        "_present",
        "_strange_bytes",
        "device",
        "frames_out",
        "heard_ms",
        "kind",
        "name",
        "stranger",
    )

    def __init__(self, name: str, kind: str, wire: Wire, endpoint: HostEndpoint, bridge: "Bridge"):
        super().__init__(wire)
        self.name = name
        self.kind = kind
        self.device: str | None = None  # who is at the other end: of several boards the one that passes on
        self.stranger = False  # on a network, and nothing that came was anybody's yet
        self.frames_out = 0
        self.heard_ms = 0  # when a HELLO or something new came last: of two ways the later one is alive
        self._strange_bytes = 0
        self._endpoint = endpoint
        self._bridge = bridge
        self._deframer: Packets | Deframer = Packets(MAX_E2E_BYTES) if wire.packets else FastDeframer(MAX_E2E_BYTES)
        self._lost = False
        self._present: dict[int, str] = NOBODY  # stream -> device, where there are several
        self._counts: dict[int, int] = NOTHING  # stream -> packets of each when last looked at

    @property
    def shared(self) -> bool:
        """Several boards may be here at a time."""
        return self._endpoint.several

    @property
    def devices(self) -> list[str]:
        """Who is here now."""
        if self._present:
            return list(self._present.values())
        return [] if self.device is None else [self.device]

    def name_for(self, device: str) -> str:
        """The way of one of the boards here: "serial:port", or "serial:port via gateway-1"."""
        if device == self.device or not self._endpoint.several:
            return self.name
        return f"{self.name} via {self.device}"

    @property
    def counters(self) -> dict[str, int]:
        """What came and what was wrong with it, by name."""
        line = {
            "frames": self._deframer.frames,
            "lines": self._deframer.lines,
            "damaged": self._deframer.damaged,
        }
        return line | self._endpoint.counters

    # -- from the link

    def call(self) -> None:
        """Ask who is there, so that a board that was talking before need not wait."""
        self._endpoint.call(self._bridge.clock.now_ms())
        self._pump()

    def receive(self, data: bytes) -> None:
        """Bytes as they came. All events of a frame are taken before the next frame is looked at."""
        now_ms = self._bridge.clock.now_ms()
        utc_ms = self._bridge.clock.utc_ms()
        believed_ms = self._bridge.clock.believed_utc_ms()
        deframer, endpoint = self._deframer, self._endpoint
        deframer.feed(data)
        while (item := deframer.next()) is not None:
            if item[0] is FRAME:
                endpoint.receive(item[1], now_ms, believed_ms)
                while (event := endpoint.next_event()) is not None:
                    self._take(event, utc_ms)
            elif item[0] is TEXT:
                self._bridge.text(self, utc_ms, item[1])
        if self.stranger and self._said_enough(len(data)):
            return
        self._pump()

    def lost(self) -> None:
        """The connection is gone. What it brought may still become durable."""
        self._lost = True
        self._disarm()
        self._bridge.closed(self)

    def packets(self, stream: int) -> int:
        """Authentic packets that came under this stream: traffic and heartbeat alike."""
        return self._endpoint.packets(stream)

    def due_in_ms(self) -> int | None:
        """When something will be sent by itself; None: not before something comes."""
        now_ms = self._bridge.clock.now_ms()
        due_ms = self._endpoint.deadline(now_ms)
        return None if due_ms is None else max(0, due_ms - now_ms)

    # -- from the commit queue

    def stored(self, seqs: dict[int, list[int]], gaps: list[Gap], waited_ms: int) -> None:
        """These are durable: the board may forget them."""
        now_ms = self._bridge.clock.now_ms()
        for stream, numbers in seqs.items():
            self._endpoint.stored(stream, numbers, now_ms)
            self._bridge.acknowledged(self, self._device_of(stream), len(numbers), waited_ms)
        for gap in gaps:
            self._endpoint.gap_stored(gap.stream, gap.first, gap.last, now_ms)
        self._pump()

    def conflict(self, stream: int, seq: int) -> None:
        """The journal has this record with other bytes."""
        self._endpoint.conflict(stream, seq, self._bridge.clock.now_ms())
        self._pump()

    # -- from the bridge

    def need(self, stream: int, what: int, items: list[int] | None) -> None:
        """Ask the board for a record that the journal lacks."""
        self._endpoint.need(stream, what, items, self._bridge.clock.now_ms())
        self._pump()

    def command(self, stream: int, cid: int, deadline: list[int], op: str, arg: object) -> None:
        """Send this CMD once."""
        self._endpoint.command(stream, cid, deadline, op, arg)
        self._pump()

    def hold(self, held: bool, window: int) -> None:
        """Stop or resume reading, and tell the boards how much they may have in flight."""
        self._wire.hold(held)
        self._endpoint.set_window(window, self._bridge.clock.now_ms())
        self._pump()

    def stop_reading(self) -> None:
        """Nothing more is read; acknowledgements still go out."""
        self._wire.hold(True)

    def close(self) -> None:
        self._wire.close()

    # -- inside

    def _said_enough(self, size: int) -> bool:
        """Whether a stranger has said enough; then the connection closes."""
        self._strange_bytes += size
        if self._strange_bytes <= STRANGER_BYTES:
            return False
        self._bridge.send_away(self)
        return True

    def _take(self, event: object, utc_ms: int) -> None:
        commits = self._bridge.commits
        self.stranger = self.stranger and isinstance(event, Violation)
        if isinstance(event, Record):
            state = event.state
            self.heard_ms = self._bridge.clock.now_ms()
            if self._endpoint.several:
                self._heard(state.stream, state.device)
            elif self.device is None and not self.shared:
                self._endpoint.call(self._bridge.clock.now_ms())  # known, from an address that is not
            row = Row(state.stream, event.seq, event.type, utc_ms, self.name, event.record)
            commits.record(self, row)
            if event.type in (SCHEMA, ANCHOR):
                self._bridge.noted(state.stream, event.type, event.record)
            elif event.type == RESULT:
                self._bridge.answered()
            elif event.type == BLOB:
                self._bridge.said(state.device, event.record)
        elif isinstance(event, Duplicate):
            commits.twin(self, Twin(event.state.stream, event.seq, event.record))
        elif isinstance(event, GapFound):
            source = "board" if event.source else "host"
            gap = Gap(event.state.stream, event.first, event.last, event.reason, source, utc_ms)
            commits.gap(self, gap)
        elif isinstance(event, Hello):
            self.heard_ms = self._bridge.clock.now_ms()
            self._greet(event)
        elif isinstance(event, Violation):
            self._bridge.violated(self, event.counter, event.detail)

    def _greet(self, hello: Hello) -> None:
        device, stream = hello.state.device, hello.state.stream
        if not self.shared:
            before, self.device = self.device, device
        elif self._present:
            before = device if device in self._present.values() else None
            self._forget(device)
            self._present[stream] = device
        else:  # the first that says so is the one whose wire this is
            before, self.device = self.device, device
            self._present = {stream: device}
            self._bridge.relayed(self)
        self._bridge.greeted(self, before, hello)

    def _heard(self, stream: int, device: str) -> None:
        """A record behind a relay: its board may have said HELLO before this host, or this way, was there."""
        if self._present and stream not in self._present:
            known = device in self._present.values()
            self._forget(device)
            self._present[stream] = device
            if not known:
                self._bridge.returned(self, device, stream)

    def silent(self) -> list[str]:
        """Boards behind a relay that said nothing since this was asked last: they are not here any more."""
        counts = {stream: self._endpoint.packets(stream) for stream in self._present}
        quiet = [stream for stream, count in counts.items() if count == self._counts.get(stream)]
        gone = [self._present[stream] for stream in quiet if self._present[stream] != self.device]
        self._counts = counts
        for device in gone:
            self._forget(device)
        return gone

    def _forget(self, device: str) -> None:
        """Its older stream, if there is one, is over."""
        self._present = {stream: other for stream, other in self._present.items() if other != device}

    def _device_of(self, stream: int) -> str | None:
        return self._present.get(stream) if self.shared else self.device

    def _pump(self) -> None:
        if not self._lost:
            self._send(self._bridge.clock.now_ms())

    def _due(self, now_ms: int) -> bytes | None:
        e2e = self._endpoint.next_pdu(now_ms)
        self.frames_out += e2e is not None
        return e2e

    def _due_ms(self, now_ms: int) -> int | None:
        return self._endpoint.deadline(now_ms)
