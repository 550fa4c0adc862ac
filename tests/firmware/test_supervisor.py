"""Several links under one stream, simulated wires in virtual time: nothing lost, little sent twice, no flapping."""

import itertools
import re
from collections.abc import Iterator

import pytest
from meuse_protocol.outbox import ALARMS

from tests.protocol.effort import RECORDS, SEED
from tests.turns_table import BEGIN, END, HEAD, MOST, PAGE, write

from .cut_in_turn import Progress, Turns, complete, cut_in_turn, ignore
from .several_links import KINDS, WINDOW, World

PAIRS = list(itertools.combinations(KINDS, 2))
TORTURE = RECORDS >= 100_000
EACH = RECORDS // 10 if TORTURE else 2 * RECORDS // len(PAIRS)


@pytest.fixture(scope="module")
def results() -> Iterator[list[Turns]]:
    """What came of each pair; `make torture` leaves it in build/ for tests/turns_table.py."""
    found: list[Turns] = []
    yield found
    if TORTURE:
        write(found)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_links_are_cut_in_turn_and_nothing_is_lost(pair: tuple[str, str], results: list[Turns]) -> None:
    """Sent again after a switch is a window at most; all else that goes again was lost by the wire, which counts it."""
    results.append(cut_in_turn(pair, SEED, EACH, Progress(len(results) + 1, len(PAIRS), EACH) if TORTURE else ignore))


def test_the_page_tells_of_a_whole_run() -> None:
    """Every pair there is, at least 10,000 records on each, from a seed that is named."""
    title, _, head, _, *lines = PAGE.read_text().split(BEGIN)[1].split(END)[0].splitlines()
    whole = rf"Seed \w+: {len(PAIRS)} pairs, at least \d+,\d+ records on each, [\d,]+ in all; 0 lost, 0 stored twice\."
    assert re.fullmatch(whole, title), "run make torture"
    assert head == f"| {' | '.join(HEAD)} |"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == list(KINDS)
    assert {len(row) for row in rows} == {len(HEAD)}
    assert all(int(row[MOST]) <= WINDOW for row in rows)


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
