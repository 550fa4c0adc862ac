"""One wire with several boards: what a session does, in turns that the bus master gives.

Joins the master (who may speak when) to the wire and the event loop, and keeps account of who is there.
"""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meuse_protocol.framing import Deframer
from meuse_protocol.host_endpoint import Hello, HostEndpoint

from meuse.bus_master import BusMaster
from meuse.links import Wire
from meuse.session import MAX_E2E_BYTES, Session

if TYPE_CHECKING:
    from meuse.bridge import Bridge


@dataclass(frozen=True)
class Bus:
    """What a link knows of its wire: speed, how many boards may be there, how often each is asked, lateness in ms."""

    baud: int
    boards: int
    poll_ms: int
    latency_ms: int


class BusSession(Session):
    """A session that only speaks, and lets speak, as its master says."""

    __slots__ = ("_damaged", "master")

    def __init__(self, name: str, kind: str, wire: Wire, endpoint: HostEndpoint, bridge: "Bridge", bus: Bus):
        super().__init__(name, kind, wire, endpoint, bridge)
        self.master = BusMaster(endpoint, bus.baud, bus.poll_ms, bus.latency_ms, secrets.randbits(32))
        self._deframer: Deframer = Deframer(MAX_E2E_BYTES, text=False)
        self._damaged = 0
        self._present = {}

    @property
    def shared(self) -> bool:
        return True

    @property
    def counters(self) -> dict[str, int]:
        master = self.master
        turns = {"polls": master.polls, "calls": master.calls, "unanswered": master.unanswered}
        return super().counters | turns

    # -- from the link

    def call(self) -> None:
        """The master calls by itself."""
        self._pump()

    def receive(self, data: bytes) -> None:
        self.master.heard(len(data), self._bridge.clock.now_ms())
        super().receive(data)

    # -- from the bridge

    def command(self, stream: int, cid: int, deadline: list[int], op: str, arg: object) -> None:
        self.master.commanded(stream, self._bridge.clock.now_ms())
        super().command(stream, cid, deadline, op, arg)

    def hold(self, held: bool, window: int) -> None:
        """Boards that are not asked send nothing: they need not be told."""
        self._wire.hold(held)
        self.master.held = held
        self._pump()

    def stop_reading(self) -> None:
        super().stop_reading()
        self.master.held = True

    # -- inside

    def _greet(self, hello: Hello) -> None:
        device, stream = hello.state.device, hello.state.stream
        known = device in self._present.values()
        self._present[stream] = device
        self.master.joined(hello.state, self._bridge.clock.now_ms())
        self._bridge.greeted(self, device if known else None, hello)
        self._look()

    def _look(self) -> None:
        """Who stopped answering, and who is back."""
        for board in self.master.changes():
            device, stream = board.state.device, board.state.stream
            if not board.lost and stream not in self._present:
                self._present[stream] = device
                self._bridge.returned(self, device, stream)
            elif board.lost and self._present.pop(stream, "") and device not in self._present.values():
                self._bridge.left(self, device)

    def _pump(self) -> None:
        if self._lost:
            return
        now_ms = self._bridge.clock.now_ms()
        if self._deframer.pending and self.master.over(now_ms):
            super().receive(b"\0")  # the end of a frame may be what was damaged
            return
        if self._deframer.damaged != self._damaged:
            self._damaged = self._deframer.damaged
            self.master.damaged()
        if self._wire.writable:
            data = self.master.step(now_ms)
            self._look()
            if data:
                self.frames_out += data.count(0) - 1
                self._wire.write(data)
        self._arm(now_ms)

    def _due_ms(self, now_ms: int) -> int | None:
        return self.master.due_ms
