"""Boards that carry for each other, in virtual time, from one seed: real relays, runners, endpoints; simulated wires.

Owns the clock and the wires (rate, delay, loss, cuts nobody is told of); a host stands at the end of any wire.
"""

import random
from collections import Counter

from memory_host import MemoryHost, MemoryJournal
from memory_log import MemoryLog
from meuse_board.relay import Relay, Upper
from meuse_board.runner import Runner
from meuse_board.supervisor import Lane, Supervisor
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import BLOB
from meuse_protocol.outbox import ALL
from meuse_protocol.shared_endpoint import SharedEndpoint

STEP_MS = 10
UTC_MS = 1_800_000_000_000
FIRST_STREAM = 0x80000001


class End:
    """A board's end of a wire, by contract. Simulated."""

    overhead = 0
    pollable = None
    ordered = True
    cost = 0

    def __init__(self, world: "World", name: str, bytes_per_s: int, delay_ms: int, mtu: int) -> None:
        self.name, self.mtu, self.up = name, mtu, True
        self.due_ms = 1 << 60
        self.sent = self.received = self.damaged = 0
        self.dead, self.loss = False, 0.0
        self.crossed: Counter[bytes] = Counter()
        self.other: End | None = None
        self._world = world
        self._bytes_per_s, self._delay_ms = bytes_per_s, delay_ms
        self._free_ms = 0.0
        self._in: list[tuple[float, bytes]] = []

    def room(self, now: int) -> bool:
        return self._free_ms <= now

    def send(self, e2e: bytes, now: int) -> None:
        assert self.other and len(e2e) <= self.mtu
        self.sent += 1
        self.crossed[e2e] += 1
        self._free_ms = max(self._free_ms, now) + len(e2e) * 1000 / self._bytes_per_s
        if not self.dead and not self.other.dead and self._world.rng.random() >= self.loss:
            self.other._in.append((self._free_ms + self._delay_ms, e2e))

    def receive(self, now: int) -> bytes | None:
        if not self._in or self._in[0][0] > now:
            return None
        self.received += 1
        return self._in.pop(0)[1]

    def doubt(self, now: int) -> None:
        pass


class Node:
    """A board with a log; `uppers` lead to hosts or relays, cheapest first, and on `lowers` others speak."""

    def __init__(self, world: "World", device: str, uppers: list[End], lowers: list[End], room: int | None = None):
        self.device, self.world = device, world
        self.log = MemoryLog(FIRST_STREAM + len(world.nodes))
        self.told: list[str] = []
        key = world.rng.randbytes(32)
        world.journal.devices[device] = [key]
        self.relay = Relay(self, room, None) if lowers else None
        self.runners: list[Runner] = []
        kind = Upper if lowers else SharedEndpoint if len(uppers) > 1 else BoardEndpoint
        lanes = []
        for cost, link in enumerate(uppers):
            runner = Runner(link, lambda event, now: None, lambda: world.rng.getrandbits(32))
            runner.endpoint = kind(device, self.log.stream, key, self.log)
            if self.relay:
                self.relay.upward(runner.endpoint)
            if cost:
                runner.endpoint.join(self.runners[0].endpoint)
            self.runners.append(runner)
            lanes.append(Lane(runner, ALL, cost, None))
        self.supervisor = Supervisor(lanes, self) if len(lanes) > 1 else None
        for link in lowers:
            runner = Runner(link, lambda event, now: None, lambda: 0)
            self.relay.downward(runner)  # type: ignore[union-attr]
            self.runners.append(runner)
        world.nodes.append(self)

    @property
    def endpoint(self) -> BoardEndpoint:
        found: BoardEndpoint = self.runners[0].endpoint
        return found

    def append(self, kind: int, body: tuple[int, None, bytes]) -> None:
        """What supervisor and relay have to say; here it is only noted."""
        self.told.append(body[2].decode())

    def add(self, count: int = 1, size: int = 60) -> None:
        for _ in range(count):
            seq = self.log.append(BLOB, 1, None, self.world.rng.randbytes(size))
            for runner in self.runners:
                runner.endpoint.record_added(seq, False)

    @property
    def waiting(self) -> int:
        """Records that the host has not acknowledged, as this board knows."""
        return self.log.next_seq() - self.log.oldest()

    def step(self, now: int) -> None:
        for runner in self.runners:
            runner.step(now)
        if self.supervisor:
            self.supervisor.step(now)


class World:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1000
        self.journal = MemoryJournal({})
        self.nodes: list[Node] = []
        self.hosts: list[tuple[MemoryHost, End]] = []

    def wire(self, name: str, bytes_per_s: int = 11_520, delay_ms: int = 2, mtu: int = 1024) -> tuple[End, End]:
        """(the end of who is below, the end of who is above)"""
        low, high = End(self, name, bytes_per_s, delay_ms, mtu), End(self, name, bytes_per_s, delay_ms, mtu)
        low.other, high.other = high, low
        return low, high

    def host(self, end: End) -> MemoryHost:
        one = MemoryHost(self.journal)
        self.hosts.append((one, end))
        return one

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 1000 / STEP_MS)):
            self.step()

    def drain(self, seconds: float) -> bool:
        """Until the host has everything, and each board knows, or so much time has passed -> whether it has."""
        for _ in range(int(seconds * 1000 / STEP_MS)):
            if not any(node.waiting for node in self.nodes):
                return True
            self.step()
        return False

    def step(self) -> None:
        self.now += STEP_MS
        for node in self.nodes:
            node.step(self.now)
        for host, end in self.hosts:
            while (e2e := end.receive(self.now)) is not None:
                host.receive(e2e, self.now, UTC_MS + self.now)
            host.commit(self.now)
            while end.room(self.now) and (e2e := host.endpoint.next_pdu(self.now)) is not None:
                end.send(e2e, self.now)

    def complete(self) -> None:
        """Every record of every board is stored, each once (the journal refuses a second), as it was made."""
        for node in self.nodes:
            mine = {seq: body for (stream, seq), body in self.journal.records.items() if stream == node.log.stream}
            assert mine == node.log.created, node.device


class Babbler:
    """Sends packets of its own making at the wire's full rate, whatever anybody answers."""

    def __init__(self, link: End, packet: object) -> None:
        self._link, self._packet = link, packet

    def step(self, now: int) -> None:
        while self._link.room(now):
            self._link.send(self._packet(), now)  # type: ignore[operator]


