"""Several links under one stream, simulated wires in virtual time: nothing lost, little sent twice, no flapping."""

import itertools

import pytest
from meuse_protocol.outbox import ALARMS

from tests.protocol.effort import RECORDS

from .several_links import KINDS, World

PAIRS = list(itertools.combinations(KINDS, 2))
EACH = max(300, RECORDS * 4 // len(PAIRS))  # 100,000 records over all pairs, by default


def complete(world: World) -> None:
    """Every record is stored, each once (the journal refuses a second), as it was made."""
    assert world.drained()
    assert {seq: record for (_, seq), record in world.journal.records.items()} == world.log.created


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_links_are_cut_in_turn_and_nothing_is_lost(pair: tuple[str, str]) -> None:
    world = World(len("".join(pair)), list(pair))
    count, turn, switches = 0, 0, 0
    world.run(5)
    while count < EACH:
        victim = world.wires[world.carrying]
        other = next(wire for wire in world.wires.values() if wire is not victim)
        for _ in range(60):
            world.add()
        world.run(0.2)
        victim.cut(noticed=turn % 3 != 2)
        for _ in range(10):
            world.add()
        count += 70
        turn, switches = turn + 1, switches + 1
        before, cut_ms = world.acked(), world.now_ms
        assert world.run(90, lambda name=other.name, before=before: world.carrying == name and world.acked() > before)
        took_ms = world.now_ms - cut_ms
        round_ms = 2 * other.kind.delay_ms + 3_000_000 // other.kind.bits_per_s
        slow = max(victim.kind.delay_ms, other.kind.delay_ms) >= 300  # two silent timeouts of such a link take longer
        assert took_ms <= 3000 + 2 * round_ms + (9000 if slow or not victim.up else 0) or turn % 3 == 0, took_ms
        world.run(1)
        victim.mend()
        assert world.run(400, lambda: all(lane.health(world.now_ms) == 0 for lane in world.supervisor._lanes))
        world.run(30, world.drained)
    assert world.run(600, world.drained)
    complete(world)
    sent = sum(wire.records for wire in world.wires.values())
    assert sent - count <= 33 * (switches + len(world.told)), (sent, count, switches)


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
