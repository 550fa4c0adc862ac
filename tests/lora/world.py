"""Boards and a gateway on one LoRa channel, in virtual time. Simulated are the air, the chips and time itself.

Real are the board's link with its driver of the chip, runner and endpoint (run by CPython here), the same link at the
gateway, and the host's endpoint behind it, which stores in memory and takes a while to commit.
"""

import random
from collections.abc import Callable
from functools import partial

from memory_host import MemoryHost, MemoryJournal
from memory_log import MemoryLog
from meuse_board.links.lora import Endpoint, Link
from meuse_board.runner import Runner
from meuse_protocol import columns, messages
from sim.world.buses import Pins, SpiBus
from sim.world.devices.sx127x import Air, Sx127x

T0 = 1_761_955_200
UTC_MS = 1_800_000_000_000
COMMIT_MS = 20
NAP_MS = 100  # the application never sleeps longer
FIRST_STREAM = 0x80000000


class Hardware:
    """One chip on one bus, through pins and operations as the simulated board has them."""

    def __init__(self, cs: int, air: Air) -> None:
        self.chip = Sx127x(cs, air)
        self._pins = Pins(lambda pins: None)
        self._bus = SpiBus([self.chip], self._pins)

    def bus(self, name: str) -> "Hardware":
        return self

    def output(self, number: int) -> Callable[[int], None]:
        self._pins.write(number, 0)
        return partial(self._pins.write, number)

    def read(self, size: int) -> bytes:
        return self._bus.exchange(bytes(size))

    def write(self, data: bytes) -> None:
        self._bus.exchange(data)


class Board:
    """A board: link and runner, a log in memory."""

    def __init__(self, world: "World", number: int, settings: dict[str, int]) -> None:
        self.device = f"board-{number}"
        self.psk = bytes([number]) * 32
        self.log = MemoryLog(FIRST_STREAM + number)
        self.hardware = Hardware(number, world.air)
        link = {"bus": "radio", "cs": number, "device": self.device, **settings}
        self.link = Link(link, self.hardware, world.random_u32)
        self.link.open(0)
        self.endpoint = Endpoint(self.device, self.log.stream, self.psk, self.log, self.link.window)
        self.runner = Runner(self.link, lambda event, now: None, world.random_u32)
        self.runner.endpoint = self.endpoint
        self.period_ms = 0
        self._world = world
        self._read_ms = 0

    def read(self, channels: int = 8) -> None:
        """One reading, one record."""
        row = [self._world.random.randrange(2000) for _ in range(channels)]
        body = columns.single(1, T0 + self._world.now // 1000, row)
        self.endpoint.record_added(self.log.append(messages.SINGLE, *body))

    def read_each(self, period_ms: int) -> None:
        self.period_ms = period_ms
        self._read_ms = self._world.now + self._world.random.randrange(period_ms or 1)

    def step(self, now: int) -> int:
        if self.period_ms and now >= self._read_ms:
            self._read_ms += self.period_ms
            self.read()
        return self.runner.step(now)


class Gateway:
    """The same link in the other role: a host behind it instead of a board's log."""

    def __init__(self, world: "World", journal: MemoryJournal, settings: dict[str, int]) -> None:
        self.host = MemoryHost(journal)
        self.hardware = Hardware(0, world.air)
        link = {"bus": "radio", "cs": 0, "device": "gateway", **settings}
        self.link = Link(link, self.hardware, world.random_u32)
        self.link.open(0)
        self._commit_ms: int | None = None

    def step(self, now: int) -> int:
        while (packet := self.link.receive(now)) is not None:
            self.host.receive(packet, now, UTC_MS + now)
            self._commit_ms = self._commit_ms or now + COMMIT_MS
        if self._commit_ms is not None and now >= self._commit_ms:
            self._commit_ms = None
            self.host.commit(now)
        while self.link.up and self.link.room(now):
            packet = self.host.endpoint.next_pdu(now)
            if packet is None:
                break
            self.link.send(packet, now)
        due_ms = self.host.endpoint.deadline(now)
        times = [self.link.due_ms, self._commit_ms, max(due_ms, now + 5) if due_ms is not None else None]
        return min(ms for ms in times if ms is not None)


class World:
    """`boards` of them and one gateway. air: of Air, what is lost; `settings`: of all links."""

    def __init__(self, seed: int, boards: int = 1, lose: float = 0.0, damage: float = 0.0, **settings: int) -> None:
        self.now = 0
        self.random = random.Random(seed)
        self.air = Air(lambda: self.now * 1000.0, seed, lose, damage)
        self.boards = [Board(self, number, settings) for number in range(1, boards + 1)]
        self.journal = MemoryJournal({board.device: [board.psk] for board in self.boards})
        self.gateway = Gateway(self, self.journal, {**settings, "duty_permille": 100})

    def random_u32(self) -> int:
        return self.random.getrandbits(32)

    def run_until(self, what: Callable[[], object], seconds: float) -> bool:
        end_ms = self.now + int(seconds * 1000)
        while not what():
            if self.now >= end_ms:
                return False
            wake_ms = min([party.step(self.now) for party in (self.gateway, *self.boards)])
            self.now = max(self.now + 1, min(wake_ms, self.now + NAP_MS))
        return True

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds)

    def complete(self) -> bool:
        return all(board.log.oldest() == board.log.next_seq() for board in self.boards)

    def check(self) -> None:
        """Each record is stored once (the journal sees to that), with the bytes that were logged, and none else."""
        created = {(board.log.stream, seq): body for board in self.boards for seq, body in board.log.created.items()}
        assert self.journal.records == created
