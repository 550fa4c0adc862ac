"""RS-485 as one of a board's links, in virtual time: simulated are the wire (tests/rs485/wire.py) and the ports.

Real are the board's link and the host's master of the wire. Nobody notices when such a wire is cut.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from memory_host import MemoryHost
from meuse.bus_master import BusMaster
from meuse_board.links import rs485
from meuse_protocol.framing import FRAME, Deframer
from meuse_protocol.host_endpoint import Hello

from tests.rs485.wire import Party, Wire

if TYPE_CHECKING:
    from .several_links import World

UTC_MS = 1_800_000_000_000
COMMIT_US = 3000
LATENCY_MS = 5


class TimedWire(Wire):
    """The wire in the time of a World."""

    def __init__(self, world: "World", baud: int) -> None:
        self._world = world
        super().__init__(0, baud)
        self.random = world.rng

    @property
    def now_us(self) -> int:
        return self._world.now_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        """Time is the world's."""

    def at(self, at_us: int, call: Callable[[], None]) -> None:
        self._world.at(at_us, call)


class BoardPort:
    """The board's UART and the pin of its driver."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting = b""
        self.party = Party(self._hears)
        wire.parties.append(self.party)

    def _hears(self, data: bytes) -> None:
        self._waiting += data

    def serial(self, settings: dict[str, int]) -> "BoardPort":
        return self

    def pollable(self, port: "BoardPort") -> None:
        return None

    def output(self, number: int) -> Callable[[int], None]:
        def level(on: int) -> None:
            self.party.drives = bool(on)

        return level

    def read(self, n: int) -> bytes | None:
        data, self._waiting = self._waiting[:n], self._waiting[n:]
        return data or None

    def write(self, data: bytes) -> int:
        self._wire.send(self.party, data)
        return len(data)

    def txdone(self) -> bool:
        return self._wire.now_us >= self.party.free_us


class MasterEnd:
    """The host's end: one session on the wire."""

    def __init__(self, world: "World", wire: Wire, poll_ms: int) -> None:
        self._world = world
        self._wire = wire
        self._deframer = Deframer(1100, text=False)
        self._party = Party(self._hears)
        wire.parties.append(self._party)
        self._host = MemoryHost(world.journal, window=32, boards=127)
        run = world.rng.getrandbits(32)
        self.master = BusMaster(self._host.endpoint, wire.baud, poll_ms, LATENCY_MS, run)

    def _hears(self, data: bytes) -> None:
        self.master.heard(len(data), self._world.now_ms)
        self._take(data)

    def _take(self, data: bytes) -> None:
        world, host = self._world, self._host
        self._deframer.feed(data)
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                host.receive(item[1], world.now_ms, UTC_MS + world.now_ms)
                world.at(world.now_us + COMMIT_US, lambda: host.commit(world.now_ms))
        for event in host.seen:
            if isinstance(event, Hello):
                self.master.joined(event.state, world.now_ms)
        host.seen.clear()

    def step(self) -> int:
        """Says what is due -> when to come again."""
        now_ms = self._world.now_ms
        if self._deframer.pending and self.master.over(now_ms):
            self._take(b"\0")
        data = self.master.step(now_ms)
        if data:
            self._party.drives = True  # the adapter turns its driver on by itself ...
            self._wire.send(self._party, data)
            self._world.at(self._party.free_us + self._wire.character_us, self._let_go)
        return self.master.due_ms

    def _let_go(self) -> None:
        self._party.drives = self._wire.now_us < self._party.free_us  # ... and off


class PolledLink(rs485.Link):  # type: ignore[misc]
    """The board's link, and by name what a World asks of its wires."""

    full = False  # its own due_ms says when it goes on

    def __init__(self, world: "World", name: str) -> None:
        from .several_links import KINDS

        self.kind = KINDS[name]
        self.loss = 0.0
        self.dead = False
        self._world = world
        wire = TimedWire(world, self.kind.bits_per_s)
        self._board_port = BoardPort(wire)
        settings = {"uart": 0, "baud": wire.baud, "de": 1, "max_pdu": self.kind.mtu}
        super().__init__(settings, self._board_port, lambda: world.rng.getrandbits(32))
        self._end = MasterEnd(world, wire, self.kind.poll_ms)
        self.open(world.now_ms)

    def send(self, e2e: bytes, now: int) -> None:
        self._world.note_sent(self, e2e)
        super().send(e2e, now)

    def cut(self, noticed: bool) -> None:
        """The pair is torn off."""
        self._board_port.party.plugged = False
        self.dead = True

    def mend(self) -> None:
        self._board_port.party.plugged = True
        self.dead = False

    def answer(self) -> int:
        return self._end.step()
