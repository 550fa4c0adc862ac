"""Window 3, 4 records: every order in which packets can be sent, lost, doubled, overtaken or late.

The real endpoints go through all interleavings there are, not a sample of them. Time has no length
here: a timer may fire at any moment while it runs, and an ACK may come soon or late enough to prove
a repetition. That is more than any line can do. A state is everything that both ends and the line
remember; each is visited once, and from each a line that does no harm leads to the end.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from memory_host import MemoryJournal
from memory_log import STREAM, MemoryLog, fill
from meuse_protocol import states
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.host_endpoint import HostEndpoint, Record
from meuse_protocol.messages import TIMEQ

from tests.protocol.effort import EXAMPLES


class Scope(NamedTuple):
    """How large a world to go through."""

    up: int = 2  # packets on the way at once; one more is lost, which is one of the cases anyway
    down: int = 1
    records: int = 4
    window: int = 3
    reorder: int = 1  # what the board was told of the line; the line does not care
    late: bool = False  # records are stored some time after they came
    quiet: bool = False  # the board may think the line is dead


SMALL = [
    Scope(),
    Scope(records=3, reorder=3),
    Scope(records=3, window=2, late=True),
    Scope(up=1, records=3, window=2, late=True, quiet=True),
]
LARGE = [Scope(down=2), Scope(reorder=3), Scope(late=True), Scope(up=1, late=True, quiet=True)]


class OneStream:
    """A directory that knows one stream of one device without a key."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def keys(self, device: str) -> list[bytes]:
        return []

    def stream(self, stream: int) -> Any:
        return self.state


def twin(thing: Any, **changed: Any) -> Any:
    """A shallow copy with some members replaced."""
    copy = object.__new__(type(thing))
    copy.__dict__.update(thing.__dict__, **changed)
    return copy


def twin_ranges(ranges: Any) -> Any:
    return twin(ranges, _flat=list(ranges._flat))


class World:
    """Both ends and the packets on the way. The clock stands at 0."""

    def __init__(
        self, scope: Scope, board: Any, host: Any, up: tuple[bytes, ...], down: tuple[bytes, ...]
    ) -> None:
        self.scope = scope
        self.board = board
        self.host = host
        self.up = up
        self.down = down

    def other_board(self) -> "World":
        """This world with a board that may be changed."""
        b = self.board
        flight = twin(b._flight, _flight=list(b._flight._flight), lost=list(b._flight.lost))
        log = twin(b._log, _kept=dict(b._log._kept), settled=set(b._log.settled))
        stored = twin_ranges(b._stored)
        live = list(b._outbox._live)
        outbox = twin(b._outbox, _log=log, stored=stored, flight=flight, _live=live)
        new = {"_log": log, "_flight": flight, "_stored": stored, "_outbox": outbox}
        board = twin(b, **new, _due=dict(b._due), _gap=dict(b._gap), _events=[])
        return World(self.scope, board, self.host, self.up, self.down)

    def other_host(self) -> "World":
        """This world with a host that may be changed."""
        h, replies = self.host, self.host._replies
        s = h._directory.state
        received, covered = twin_ranges(s.received), twin_ranges(s.covered)
        state = twin(s, received=received, covered=covered, pending=dict(s.pending))
        due = replies.dues[STREAM]
        due = twin(due, state=state, at_once=set(due.at_once), pings=twin(due.pings))
        owing = {STREAM: due} if replies._owing else {}
        replies = twin(replies, dues={STREAM: due}, bound=due, _owing=owing)
        host = twin(h, _directory=OneStream(state), _replies=replies, _events=[])
        return World(self.scope, self.board, host, self.up, self.down)

    def key(self) -> Any:
        """Everything that can make a difference later."""
        b, due = self.board, self.host._replies.dues[STREAM]
        flight, outbox, state = b._flight, b._outbox, due.state
        before = flight._proved
        sent = []  # how many transmissions after the one before matters up to the reordering
        for seq, order, _, clean in flight._flight:
            sent.append((seq, min(order - before, flight._reorder), clean))
            before = order
        return (
            b.state,
            b._win,
            b._short,
            tuple(sorted(b._due)),
            tuple(sent),
            tuple(flight.lost),
            tuple(b._stored._flat),
            outbox._scan,
            tuple(outbox._live),
            b._log._cum,
            tuple(state.received._flat),
            tuple(sorted(state.pending)),
            due.ack_ms is None,
            due.welcome,
            self.up,
            self.down,
        )

    # -- what can happen; each gives the world after it, or nothing where it cannot

    def board_sends(self) -> Iterator["World"]:
        world = self.other_board()
        board = world.board
        board._due = dict.fromkeys(board._due, 0)  # whatever waits for its time may have it now
        e2e = board.next_pdu(0)
        if e2e is not None:
            if len(world.up) < self.scope.up:
                world.up += (e2e,)
            yield world

    def host_sends(self) -> Iterator["World"]:
        if self.host._replies._owing:
            world = self.other_host()
            due = world.host._replies.dues[STREAM]
            due.ack_ms = None if due.ack_ms is None else 0
            e2e = world.host.next_pdu(0)
            due.stored = 0
            if len(world.down) < self.scope.down:
                world.down += (e2e,)
            yield world

    def commits(self) -> Iterator["World"]:
        if self.host._directory.state.pending:
            world = self.other_host()
            state = world.host._directory.state
            for seq, made in state.pending.items():
                assert made == world.board._log.created[seq]
                assert not state.received.contains(seq), "stored twice"
            world.host.stored(STREAM, sorted(state.pending), 0)
            yield world

    def arrives_up(self, i: int, stays: bool = False) -> "World":
        world = self.other_host()
        e2e = world.up[i]
        world.up = world.up if stays else world.up[:i] + world.up[i + 1 :]
        world.host._replies.dues[STREAM].pings._start_ms = None
        world.host.receive(e2e, 0)
        while (event := world.host.next_event()) is not None:
            assert not isinstance(event, Record) or event.seq in event.state.pending
        if not self.scope.late:
            world = next(world.commits(), world)
        return world

    def arrives_down(self, i: int, stays: bool = False, proves: bool = True) -> "World":
        world = self.other_board()
        e2e = world.down[i]
        world.down = world.down if stays else world.down[:i] + world.down[i + 1 :]
        flight = world.board._flight
        flight._rtt_min_ms = 0 if proves else -1
        world.board.receive(e2e, 0)
        world.board._due.pop(TIMEQ, None)
        flight._srtt_8 = flight._rttvar_4 = flight.timeouts = flight._doubts = 0
        for seq in world.board._log.settled:
            stored = world.host._directory.state.received
            assert stored.contains(seq), "acknowledged, not stored"
        return world

    def lost(self) -> Iterator["World"]:
        up, down = self.up, self.down
        for i in range(len(up)):
            yield World(self.scope, self.board, self.host, up[:i] + up[i + 1 :], down)
        for i in range(len(down)):
            yield World(self.scope, self.board, self.host, up, down[:i] + down[i + 1 :])

    def timeout(self) -> Iterator["World"]:
        if self.board._flowing() and len(self.board._flight):
            world = self.other_board()
            world.board._flight.expire(0)
            world.board._flight.timeouts = 0
            yield world

    def silence(self) -> Iterator["World"]:
        if self.scope.quiet and self.board._flowing() and len(self.board._flight):
            world = self.other_board()
            world.board._step(states.SILENCE, 0)
            yield world

    def all_next(self) -> Iterator["World"]:
        yield from self.board_sends()
        yield from self.host_sends()
        yield from self.commits()
        for stays in (False, True):
            for i in range(len(self.up)):
                yield self.arrives_up(i, stays)
            for i in range(len(self.down)):
                yield self.arrives_down(i, stays)
                yield self.arrives_down(i, stays, False)
        yield from self.lost()
        yield from self.timeout()
        yield from self.silence()

    def calm_next(self) -> "World | None":
        """What happens when the line does no harm; timers fire only when nothing else does."""
        if self.up:
            return self.arrives_up(0)
        if self.down:
            return self.arrives_down(0)
        for act in (self.commits, self.host_sends, self.board_sends, self.timeout):
            for world in act():
                return world
        return None

    def done(self) -> bool:
        return bool(self.board._log.oldest() == self.scope.records + 1)


def begin(scope: Scope) -> World:
    """Welcomed, records waiting, nothing sent."""
    log = MemoryLog(STREAM)
    board = BoardEndpoint("board-1", STREAM, None, log, window=scope.window)
    host = HostEndpoint(MemoryJournal({"board-1": []}), trusted=True, window=scope.window)
    board.link_up(0, 1024, 7, scope.reorder == 1)
    host.receive(board.next_pdu(0), 0)
    board.receive(host.next_pdu(0), 0)
    assert board.state == states.READY
    host._directory = OneStream(host._directory.stream(STREAM))
    fill(log, scope.records)
    board._due.clear()  # no TIMEQ
    for endpoint in (board, host):
        while endpoint.next_event() is not None:
            pass
    return World(scope, board, host, (), ())


def ends(calm: dict[int, int]) -> bool:
    """From every state the calm path reaches the end (-1) and never comes by a state twice."""
    safe = {-1}
    for state in calm:
        path = []
        while state not in safe:
            path.append(state)
            state = calm[state]
            if state in path[-200:]:
                return False
        safe.update(path)
    return True


@pytest.mark.parametrize("scope", SMALL + (LARGE if EXAMPLES > 1 else []), ids=str)
def test_every_interleaving(scope: Scope) -> None:
    first = begin(scope)
    numbers = {first.key(): 0}
    calm: dict[int, int] = {}
    waiting = [first]
    while waiting:
        world = waiting.pop()
        for found in world.all_next():
            key = found.key()
            if key not in numbers:
                numbers[key] = len(numbers)
                waiting.append(found)
        after = None if world.done() else world.calm_next()
        calm[numbers[world.key()]] = -1 if after is None else numbers[after.key()]
        assert world.done() or after is not None, "stuck"
    assert ends(calm)
    print(len(numbers), "states")
