"""Boards and a master on the simulated wire, in virtual time. Simulated are the wire, the ports and time itself.

Real are the board's link, runner and endpoint (run by CPython here) and the host's master and endpoint. The host's
storage is in memory and takes a while to commit.
"""

from collections.abc import Callable

from memory_host import MemoryHost, MemoryJournal
from memory_log import MemoryLog
from meuse.bus_master import BusMaster
from meuse_board.links.rs485 import Link
from meuse_board.runner import Runner
from meuse_protocol import columns, messages
from meuse_protocol.commands import DONE
from meuse_protocol.framing import DAMAGE, FRAME, Deframer
from meuse_protocol.host_endpoint import Hello
from meuse_protocol.polled import PolledEndpoint
from meuse_protocol.reactions import Command

from tests.rs485.wire import Party, Wire

T0 = 1_761_955_200
COMMIT_MS = 20
ADAPTER_LATE_US = 16_000  # the latency timer of a usual USB adapter
FIRST_STREAM = 0x80000000


class Port:
    """A board's UART: never waits, and knows when the last bit has left."""

    def __init__(self, wire: Wire, party: Party) -> None:
        self._wire = wire
        self._party = party
        self.waiting = b""

    def read(self, n: int) -> bytes | None:
        data, self.waiting = self.waiting[:n], self.waiting[n:]
        return data or None

    def write(self, data: bytes) -> int:
        self._wire.send(self._party, data)
        return len(data)

    def txdone(self) -> bool:
        return self._wire.now_us >= self._party.free_us


class Board:
    """A board: the firmware's link and runner, a log in memory. Its loop is late by up to `lag_ms`."""

    def __init__(self, bus: "Bus", number: int, lag_ms: int = 8) -> None:
        self.device = f"board-{number}"
        self.psk = bytes([number]) * 32
        self.log = MemoryLog(FIRST_STREAM + number)
        self.readings = 0
        self.reading = True
        self._wire = bus.wire
        self._lag_us = lag_ms * 1000
        self._wake_us: int | None = None
        self.party = Party(self._hears)
        self._port = Port(self._wire, self.party)
        bus.wire.parties.append(self.party)
        self.start()

    def start(self) -> None:
        """Power comes back: what is in RAM is new, the log stays."""
        self._port.waiting = b""
        self.endpoint = PolledEndpoint(self.device, self.log.stream, self.psk, self.log)
        self.link = Link({"uart": 0, "baud": self._wire.baud, "de": 1}, self, self._random)
        self.link.open(self._wire.now_ms)
        self._runner = Runner(self.link, self._event, self._random)
        self._runner.endpoint = self.endpoint
        self._step()

    def serial(self, settings: dict[str, int]) -> Port:
        return self._port

    def pollable(self, port: Port) -> None:
        return None

    def output(self, number: int) -> Callable[[int], None]:
        def level(on: int) -> None:
            self.party.drives = bool(on)

        return level

    def read(self, channels: int = 8) -> None:
        """One reading, one record."""
        row = [self._wire.random.randrange(2000) for _ in range(channels)]
        seq = self.log.append(messages.SINGLE, *columns.single(1, T0 + self._wire.now_us // 1_000_000, row))
        self.readings += 1
        self.endpoint.record_added(seq)

    def read_each(self, period_ms: int, first_ms: int) -> None:
        def again() -> None:
            if not self.reading:
                return
            self.read()
            self._wire.at(self._wire.now_us + period_ms * 1000, again)

        self._wire.at(self._wire.now_us + first_ms * 1000, again)

    def unplug(self) -> None:
        self.party.plugged = False

    def plug(self) -> None:
        self.party.plugged = True

    def _event(self, event: object, now: int) -> None:
        """Whatever it is commanded is done at once, and each time that it comes."""
        if isinstance(event, Command):
            seq = self.log.append(messages.RESULT, event.cid, DONE, None)
            self.endpoint.record_added(seq)

    def _random(self) -> int:
        return self._wire.random.getrandbits(32)

    def _hears(self, data: bytes) -> None:
        self._port.waiting += data
        self._wake(self._wire.now_us + self._wire.random.randrange(self._lag_us))

    def _wake(self, at_us: int) -> None:
        if self._wake_us is None or at_us < self._wake_us:
            self._wake_us = at_us
            self._wire.at(at_us, lambda: self._woken(at_us))

    def _woken(self, at_us: int) -> None:
        if self._wake_us == at_us:
            self._step()

    def _step(self) -> None:
        self._wake_us = None
        self._wake(self._runner.step(self._wire.now_ms) * 1000)


class Bus:
    """The wire with its master: what a host does with one, on a journal in memory."""

    def __init__(self, seed: int, boards: int, baud: int = 19_200, poll_ms: int = 10_000, noise: float = 0.0) -> None:
        self.wire = Wire(seed, baud, noise)
        self._poll_ms = poll_ms
        self._party = Party(self._hears, late_us=ADAPTER_LATE_US)
        self.wire.parties.append(self._party)
        self.boards = [Board(self, number) for number in range(1, boards + 1)]
        self.journal = MemoryJournal({board.device: [board.psk] for board in self.boards})
        self._life = 0
        self.start()

    def add(self, number: int) -> Board:
        """One more board, known to the host."""
        board = Board(self, number)
        self.boards.append(board)
        self.journal.devices[board.device] = [board.psk]
        return board

    def start(self) -> None:
        """The host starts: it knows what is durable and nothing of the wire."""
        self.journal.restart()
        self._life += 1
        self._wake_us: int | None = None
        self._committing = False
        self.host = MemoryHost(self.journal, boards=127)
        run = self.wire.random.getrandbits(32)
        self.master = BusMaster(self.host.endpoint, self.wire.baud, self._poll_ms, 20, run)
        self._deframer = Deframer(1100, text=False)
        self._step()

    def command(self, board: Board, cid: int) -> None:
        """As a session does it: the master knows that this board will have something to say."""
        self.master.commanded(board.log.stream, self.wire.now_ms)
        self.host.endpoint.command(board.log.stream, cid, [1, 1 << 31], "safe", None)
        self._step()

    def kill(self) -> None:
        """The host ends between two instructions; what is on the wire goes on."""
        self._life += 1
        self._wake_us = None

    def run_until(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        return self.wire.run(int(seconds * 1_000_000), done)

    @property
    def welcomed(self) -> int:
        return sum(board.endpoint.state == "R" for board in self.boards)

    def complete(self) -> bool:
        """Everything that was read is stored, and every board knows it."""
        return all(board.log.oldest() == board.log.next_seq() for board in self.boards)

    def check(self) -> None:
        """What is stored is what was made, each once (the journal refuses a second)."""
        made = {(board.log.stream, seq): r for board in self.boards for seq, r in board.log.created.items()}
        assert self.journal.records == made
        assert self.journal.gaps == {}

    def _hears(self, data: bytes) -> None:
        self.master.heard(len(data), self.wire.now_ms)
        self._take(data)

    def _take(self, data: bytes) -> None:
        now_ms = self.wire.now_ms
        self._deframer.feed(data)
        while (item := self._deframer.next()) is not None:
            if item[0] is FRAME:
                self.host.receive(item[1], now_ms, (T0 * 1000) + now_ms)
            elif item[0] is DAMAGE:
                self.master.damaged()
        for event in self.host.seen:
            if isinstance(event, Hello):
                self.master.joined(event.state, now_ms)
        self.host.seen.clear()
        if self.host.waiting and not self._committing:
            self._committing = True
            events, self.host.waiting = self.host.waiting, []
            life = self._life
            self.wire.at(self.wire.now_us + COMMIT_MS * 1000, lambda: self._committed(events, life))
        self._step()

    def _committed(self, events: list[object], life: int) -> None:
        if life == self._life:
            self.journal.commit(events)
            self.host.tell(events, self.wire.now_ms)
            self._committing = False
            self._step()

    def _step(self) -> None:
        if self._deframer.pending and self.master.over(self.wire.now_ms):
            return self._take(b"\0")
        data = self.master.step(self.wire.now_ms)
        if data:
            self._party.drives = True  # the adapter turns its driver on by itself ...
            self.wire.send(self._party, data)
            self.wire.at(self._party.free_us + self.wire.character_us, self._let_go)
        wake_us = max(self.master.due_ms * 1000, self.wire.now_us + 1000)
        if self._wake_us is None or wake_us < self._wake_us:
            self._wake_us = wake_us
            life = self._life
            self.wire.at(wake_us, lambda: self._woken(wake_us, life))

    def _let_go(self) -> None:
        self._party.drives = self.wire.now_us < self._party.free_us  # ... and off

    def _woken(self, at_us: int, life: int) -> None:
        if life == self._life and self._wake_us == at_us:
            self._wake_us = None
            self._step()
