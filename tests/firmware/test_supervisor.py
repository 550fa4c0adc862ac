"""Several links under one stream, simulated wires in virtual time: nothing lost, little sent twice, no flapping."""

import itertools

import pytest
from meuse_protocol.outbox import ALARMS

from tests.protocol.effort import RECORDS

from .several_links import KINDS, WINDOW, World

PAIRS = list(itertools.combinations(KINDS, 2))
# 100,000 records on every pair under `make torture`, a share of 48,000 each in `make test`.
EACH = RECORDS // 10 if RECORDS >= 1_000_000 else 2 * RECORDS // len(PAIRS)
BURST, LATE = 60, 10  # records when a link is cut, and after that
SWITCH_MS = 3000


def complete(world: World) -> None:
    """Every record is stored, each once (the journal refuses a second), as it was made."""
    assert world.drained()
    assert {seq: record for (_, seq), record in world.journal.records.items()} == world.log.created


def cut_in_turn(world: World, noticed: bool) -> int:
    """The link that carries is cut while it is busy -> ms until the other's first ACK of a record."""
    victim = world.carrying
    (other,) = world.wires.keys() - {victim}
    world.add_all(BURST)
    world.run(0.2)
    world.wires[victim].cut(noticed)
    world.add_all(LATE)
    before, cut_ms = world.acked(), world.now_ms
    assert world.run(600, lambda: world.carrying == other and world.acked() > before), f"{victim}: never left"
    took_ms = world.now_ms - cut_ms
    left, taken = KINDS[victim], KINDS[other]
    unnoticed = left.poll_ms or not noticed
    assert took_ms <= SWITCH_MS + taken.first_ms + (left.silent_ms if unnoticed else 0), (victim, other, noticed)
    world.run(1)
    world.wires[victim].mend()
    assert world.run(900, lambda: all(lane.health(world.now_ms) == 0 for lane in world.supervisor._lanes)), victim
    return took_ms


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_links_are_cut_in_turn_and_nothing_is_lost(pair: tuple[str, str]) -> None:
    """Sent again after a switch is a window at most; what timeouts and loss cost on a link comes to that."""
    world = World(len("".join(pair)), list(pair))
    lossy = any(KINDS[name].loss for name in pair)
    world.run(5)
    turn, took_ms = 0, 0
    while turn * (BURST + LATE) < EACH:
        switches, before, over = len(world.told), world.transmissions, world.carried_over
        took_ms = max(took_ms, cut_in_turn(world, noticed=turn % 3 != 2))
        assert world.run(900, world.drained), world.told[-4:]
        turn, switches = turn + 1, len(world.told) - switches
        assert world.carried_over - over <= WINDOW * switches, (turn, world.told[-4:])
        resent = world.transmissions - before - BURST - LATE
        assert resent <= 2 * WINDOW * (switches + lossy), (turn, resent, world.told[-4:])
    complete(world)
    sent = world.transmissions / (turn * (BURST + LATE))
    print(f"{turn * (BURST + LATE)} records, {len(world.told)} switches, {sent:.2f} times, slowest {took_ms} ms")


def test_the_cheapest_carries_and_is_taken_back_without_flapping() -> None:
    world = World(3, ["serial", "tcp", "cellular"])
    world.run(10)
    assert world.carrying == "serial"
    for _ in range(12):
        world.wires["serial"].cut(True)
        world.run(2)
        assert world.carrying == "tcp"
        world.wires["serial"].mend()
        world.run(4)
        world.add()
    changes = len(world.told)
    assert changes < 18, "a cable that comes and goes is trusted less each time"
    world.run(400)
    assert world.carrying == "serial" and len(world.told) <= changes + 1
    complete(world)


def test_a_wire_that_is_torn_in_mid_frame_is_left_too() -> None:
    """Half a frame waits for its end, but not for ever."""
    world = World(8, ["rs485", "tcp"])
    world.run(5)
    world.add_all(5)
    assert world.carrying == "rs485"
    assert world.run(30, lambda: world.wires["rs485"]._deframer.pending)  # type: ignore[union-attr]
    world.wires["rs485"].cut(False)
    world.add_all(5)
    assert world.run(10, lambda: world.carrying == "tcp" and world.drained())
    complete(world)


def test_alarms_go_where_bytes_are_paid_and_the_rest_waits() -> None:
    world = World(4, ["tcp", "cellular"], {"cellular": ALARMS})
    world.run(5)
    world.wires["tcp"].cut(True)
    world.run(5)
    backlog = [world.add() for _ in range(20)]
    alarm = world.add(urgent=True)
    world.run(30)
    stored = {seq for _, seq in world.journal.records}
    assert alarm in stored and not stored & set(backlog)
    world.wires["tcp"].mend()
    assert world.run(30, world.drained)
    complete(world)


def test_a_link_that_never_had_a_host_does_not_hold_the_readings() -> None:
    world = World(5, ["serial", "udp"])
    world.wires["serial"].cut(False)
    for _ in range(10):
        world.add()
    assert world.run(15, world.drained)
    assert world.carrying == "udp"


def test_when_all_links_are_silent_all_are_tried_for_ever() -> None:
    world = World(6, ["tcp", "mqtt"])
    world.run(5)
    for wire in world.wires.values():
        wire.cut(False)
    for _ in range(200):
        world.add()
    world.run(7200)
    before = sum(wire.sent for wire in world.wires.values())
    world.run(3600)
    assert sum(wire.sent for wire in world.wires.values()) - before < 400, "two links, a packet a minute or so each"
    world.wires["mqtt"].mend()
    assert world.run(400, world.drained)
    complete(world)


def test_loss_does_not_look_like_a_dead_link() -> None:
    world = World(7, ["udp", "mqtt"])
    world.run(5)
    world.wires["udp"].loss = 0.2
    for _ in range(100):
        for _ in range(5):
            world.add()
        world.run(2)
    assert world.run(60, world.drained)
    complete(world)
    assert len(world.told) < 8, world.told
