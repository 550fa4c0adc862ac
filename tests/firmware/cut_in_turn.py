"""Two links of a board are cut in turn, whichever carries, until so many records are stored; in virtual time.

Asserted at every cut: how soon a record is acknowledged on the other link, and that nothing goes again without a cause.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meuse_protocol.window import RTO_RESENDS

from .resent import Tally
from .several_links import KINDS, STALL_S, WINDOW, World

BURST, LATE = 60, 10  # records when a link is cut, and after that: then all of them are waited for
SWITCH_MS = 3000
EACH_S = 20  # progress is told
PROBES = 3 * RTO_RESENDS  # three timeouts at most before a link is left that gives no answer


@dataclass
class Turns:
    """What came of it. first_ms: by the link taken, from the cut to its first ACK of a record, at worst: when the cut
    was noticed, and when it was not. most: records sent again because of one switch, at most."""

    pair: tuple[str, str]
    seed: str
    records: int = 0
    switches: int = 0
    most: int = 0
    tally: Tally = field(default_factory=Tally)
    told_ms: dict[str, int] = field(default_factory=dict)
    silent_ms: dict[str, int] = field(default_factory=dict)
    hours: float = 0.0


def ignore(_: Turns) -> None:
    """Nobody wants to know how far it is."""


class Progress:
    """A line on the screen: which of how many pairs, records so far, seconds."""

    def __init__(self, number: int, pairs: int, records: int) -> None:
        self._number, self._pairs, self._records = number, pairs, records
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, turns: Turns) -> None:
        now_s = time.monotonic()
        done = turns.records >= self._records
        if done or now_s - self._told_s >= EACH_S:
            self._told_s = now_s
            text = f"{self._number:3}/{self._pairs} {'-'.join(turns.pair)}: {turns.records} records"
            print(f"{text}, {turns.switches} switches, {now_s - self._began_s:.0f} s", flush=True)


def cut_in_turn(pair: tuple[str, str], seed: str, records: int, tell: Callable[[Turns], None] = ignore) -> Turns:
    """Cuts until so many records were offered; every third cut is one that nobody is told of."""
    world = World(f"{seed} {'-'.join(pair)}", list(pair))
    turns = Turns(pair, seed)
    world.run(5)
    turn = 0
    while turns.records < records:
        before, switches = world.tally.copy(), len(world.told)
        _cut(world, turns, noticed=turn % 3 != 2)
        world.drain()
        turn += 1
        turns.records += BURST + LATE
        switches = len(world.told) - switches
        _account(world, turns, world.tally.since(before), switches)
        tell(turns)
    turns.tally, turns.hours = world.tally.copy(), world.now_ms / 3_600_000
    complete(world)
    assert len(world.journal.records) == turns.records
    return turns


def _cut(world: World, turns: Turns, noticed: bool) -> None:
    """The link that carries is cut while it is busy, and mended when the other one has an ACK of a record."""
    _all_good(world)  # also one that gave no answer just now, by chance
    victim = world.carrying
    (other,) = world.wires.keys() - {victim}
    left, taken = KINDS[victim], KINDS[other]
    silent = bool(left.poll_ms) or not noticed
    world.add_all(BURST)
    world.run(0.2)
    world.wires[victim].cut(noticed)
    world.add_all(LATE)
    acked, cut_ms = world.acked(), world.now_ms
    assert world.run(STALL_S, lambda: world.carrying == other and world.acked() > acked), f"{victim}: never left"
    took_ms = world.now_ms - cut_ms
    allowed_ms = SWITCH_MS + taken.first_ms + (left.silent_ms if silent else 0)
    assert took_ms <= allowed_ms, (victim, other, noticed, took_ms, allowed_ms)
    worst = turns.silent_ms if silent else turns.told_ms
    worst[other] = max(worst.get(other, 0), took_ms)
    world.run(1)
    world.wires[victim].mend()
    _all_good(world)


def _all_good(world: World) -> None:
    """The host answers on both links."""
    good = world.run(STALL_S, lambda: all(lane.health(world.now_ms) == 0 for lane in world.supervisor._lanes))
    assert good, f"{world.told[-4:]}: a link works again, and nobody uses it"


def _account(world: World, turns: Turns, tally: Tally, switches: int) -> None:
    """A switch may cost a window and some probes; all else that goes again was lost on the way, and counted there."""
    turns.switches += switches
    where = (turns.records, switches, tally, world.told[-4:])
    assert tally.switched <= WINDOW * switches, where
    assert tally.probes <= PROBES * switches, where
    turns.most = max(turns.most, -(-tally.switched // max(1, switches)))
    unmeasured = RTO_RESENDS * len(turns.pair)  # once per link: before any round trip is known
    assert world.tally.again <= world.tally.excused() + unmeasured, (where, world.tally.copy())


def complete(world: World) -> None:
    """Every record is stored, each once (the journal refuses a second), as it was made."""
    assert world.drained()
    assert {seq: record for (_, seq), record in world.journal.records.items()} == world.log.created
