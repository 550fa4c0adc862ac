"""When packets leave, and as which bytes: a sender with a plan, a wire in memory that takes so much at a time."""

import asyncio

from meuse.sender import SILENCE_MS, WRITE_TOGETHER, Sender
from meuse_protocol.framing import FRAME, Deframer, frame

from tests.host.light_board import until


def packet(n: int) -> bytes:
    return b"\x97\x11" + n.to_bytes(2, "big")


class Memory:
    """A Wire. room: bytes it takes until it is no longer writable."""

    def __init__(self, packets: bool = False, room: int = 1 << 20) -> None:
        self.packets = packets
        self.room = room
        self.writes: list[bytes] = []

    @property
    def writable(self) -> bool:
        return self.room > 0

    def write(self, data: bytes) -> None:
        assert self.writable
        self.room -= len(data)
        self.writes.append(data)

    def hold(self, held: bool) -> None: ...

    def close(self) -> None: ...


class Planned(Sender):
    """Sends what stands in `plan`, (when in ms, packet), by its own clock."""

    def __init__(self, wire: Memory) -> None:
        super().__init__(wire)
        self.plan: list[tuple[int, bytes]] = []
        self.now_ms = 0

    def at(self, now_ms: int, *packets: bytes) -> None:
        self.now_ms = now_ms
        self.plan += [(now_ms, one) for one in packets]
        self._pump()

    def stop(self) -> None:
        self._disarm()

    def _pump(self) -> None:
        self._send(self.now_ms)

    def _due(self, now_ms: int) -> bytes | None:
        return self.plan.pop(0)[1] if self.plan and self.plan[0][0] <= now_ms else None

    def _due_ms(self, now_ms: int) -> int | None:
        return self.plan[0][0] if self.plan else None


def test_the_first_frame_and_one_after_silence_begin_with_a_delimiter() -> None:
    wire = Memory()
    sender = Planned(wire)
    sender.at(5, packet(1), packet(2))
    sender.at(4 + SILENCE_MS, packet(3))
    sender.at(3 + 2 * SILENCE_MS)
    sender.at(4 + 2 * SILENCE_MS, packet(4))
    first, second, third, fourth = (frame(packet(n)) for n in range(1, 5))
    assert wire.writes == [b"\0" + first + second, third, b"\0" + fourth]


def test_packets_go_together_and_no_more_than_the_wire_takes() -> None:
    wire = Memory(room=1)
    sender = Planned(wire)
    every = [packet(n) for n in range(3 * WRITE_TOGETHER)]
    sender.at(0, *every)
    assert len(wire.writes) == 1 and wire.writes[0].count(0) == WRITE_TOGETHER, "then it is asked again"
    sender.writable()
    assert len(wire.writes) == 1
    wire.room = 1 << 20
    sender.writable()
    assert max(data.count(0) for data in wire.writes) <= WRITE_TOGETHER and len(wire.writes) <= 4
    deframer = Deframer(100)
    deframer.feed(b"".join(wire.writes))
    assert [deframer.next() for _ in every] == [(FRAME, one) for one in every] and deframer.next() is None


def test_a_wire_of_packets_gets_each_as_it_is_and_no_more_than_it_takes() -> None:
    wire = Memory(packets=True, room=1)
    sender = Planned(wire)
    sender.at(0, packet(1), packet(2), packet(3))
    assert wire.writes == [packet(1)]
    wire.room = 1 << 20
    sender.writable()
    assert wire.writes == [packet(1), packet(2), packet(3)]


def test_what_is_due_later_goes_by_itself_the_earliest_first() -> None:
    async def scene() -> None:
        wire = Memory(packets=True)
        sender = Planned(wire)
        sender.plan = [(3_600_000, packet(9))]
        sender.writable()  # in an hour, and then something comes that is due before
        sender.plan[:0] = [(1, packet(1)), (3, packet(3))]
        sender.writable()
        assert wire.writes == []
        sender.now_ms = 1
        await until(lambda: wire.writes == [packet(1)], "the first in its time")
        await asyncio.sleep(0.01)  # the sender's clock stands still: too early for the second
        assert wire.writes == [packet(1)]
        sender.now_ms = 3
        await until(lambda: wire.writes == [packet(1), packet(3)], "the second in its time")
        sender.stop()

    asyncio.run(scene())


def test_what_is_given_up_wakes_nobody() -> None:
    async def scene() -> None:
        wire = Memory(packets=True)
        sender = Planned(wire)
        sender.plan = [(1, packet(1))]
        sender.writable()
        sender.stop()
        sender.now_ms = 1
        await asyncio.sleep(0.01)  # the event loop would have called before it comes back here
        assert wire.writes == []

    asyncio.run(scene())


def test_a_wire_that_takes_nothing_is_not_looked_at_until_it_does() -> None:
    async def scene() -> None:
        wire = Memory(packets=True, room=0)
        sender = Planned(wire)
        sender.at(0, packet(1))
        assert sender._timer is None
        wire.room = 100
        sender.writable()
        assert wire.writes == [packet(1)]

    asyncio.run(scene())
