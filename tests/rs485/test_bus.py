"""Many boards on one wire, in virtual time: counts of what is stored, of polls, of time on the wire.

The wire is simulated (wire.py); on both ends of it runs the real thing (bus.py).
"""

import pytest
from meuse_protocol.messages import RESULT, parse, splice

from tests.rs485.bus import Bus

SIMULATED = "simulated: 8N1 at character timing, collisions, turn-around, noise"
BOARD = "the firmware's link, runner and endpoint, run by CPython in virtual time"
HOST = "the host's bus master and endpoint, storage in memory"


def bus_with_readings(seed: int, boards: int, **options: float) -> Bus:
    """Every board reads 8 channels every 10 s, each at another moment."""
    bus = Bus(seed, boards, **options)  # type: ignore[arg-type]
    for number, board in enumerate(bus.boards):
        board.read_each(10_000, 10_000 * number // boards)
    return bus


def finish(bus: Bus, seconds: int = 300) -> None:
    """No more readings; all that was read arrives, once."""
    for board in bus.boards:
        board.reading = False
    assert bus.run_until(bus.wire.now_us / 1e6 + seconds, bus.complete), "not everything arrived"
    bus.check()


@pytest.mark.link("rs485", board=BOARD, wire=SIMULATED, host=HOST)
def test_32_boards_at_19200_baud() -> None:
    """One record of 8 channels every 10 s each: all stored once, the wire less than a quarter busy."""
    bus = bus_with_readings(1, 32)
    assert bus.run_until(120, lambda: bus.welcomed == 32)
    begin_us, busy_us, given_ms = bus.wire.now_us, bus.wire.busy_us, bus.master.busy_ms
    bus.run_until(begin_us / 1e6 + 600)
    took_us = bus.wire.now_us - begin_us
    busy = (bus.wire.busy_us - busy_us) / took_us
    given = (bus.master.busy_ms - given_ms) * 1000 / took_us
    finish(bus)
    readings = sum(board.readings for board in bus.boards)
    print(f"all there after {begin_us / 1e6:.0f} s; {readings} readings; busy {busy:.1%}, {given:.1%} with waiting")
    assert readings > 1900
    assert busy < 0.25
    assert given < 0.5
    assert bus.master.unanswered == 0
    assert bus.host.endpoint.counters == {}
    assert bus.wire.undriven == 0


@pytest.mark.link("rs485", board=BOARD, wire=SIMULATED, host=HOST)
@pytest.mark.parametrize("seed", range(3))
def test_noise_costs_time_and_nothing_else(seed: int) -> None:
    """One character in 300 is damaged: about every sixth frame."""
    bus = bus_with_readings(seed, 8, noise=1 / 300, poll_ms=5000)
    bus.run_until(600)
    finish(bus)
    sent = sum(board.link.sent for board in bus.boards)
    damaged = sum(board.link.damaged for board in bus.boards)
    readings = sum(board.readings for board in bus.boards)
    print(f"{readings} readings, {sent} packets of boards, {damaged} damaged, {bus.master.unanswered} turns unanswered")
    assert damaged > 500
    assert bus.master.unanswered > 20
    assert bus.host.endpoint.counters.get("duplicate", 0) < readings // 10


def test_a_command_comes_after_the_turn_that_is_under_way_and_its_result_is_asked_for() -> None:
    """32 boards with readings, each asked every 10 s."""
    bus = bus_with_readings(3, 32)
    assert bus.run_until(120, lambda: bus.welcomed == 32)
    heard: list[float] = []
    for cid in range(1, 41):
        board = bus.boards[cid * 7 % 32]
        at_us, made = bus.wire.now_us, board.log.next_seq()
        bus.command(board, cid)
        results = lambda board=board, made=made: [  # noqa: E731
            seq for seq, r in board.log.created.items() if seq >= made and parse(splice(r, 0)).fields[0] == RESULT
        ]
        stored = lambda board=board, results=results: any(  # noqa: E731
            (board.log.stream, seq) in bus.journal.records for seq in results()
        )
        assert bus.run_until(at_us / 1e6 + 30, stored)
        heard.append((bus.wire.now_us - at_us) / 1e6)
        bus.run_until(bus.wire.now_us / 1e6 + 1.7)
    finish(bus)
    heard.sort()
    print(f"RESULT stored after {heard[20]:.2f} s, at worst {heard[-1]:.2f} s")
    assert heard[20] < 1
    assert heard[-1] < 5


def test_a_board_is_unplugged_and_comes_back() -> None:
    bus = bus_with_readings(5, 6, poll_ms=2000)
    assert bus.run_until(60, lambda: bus.welcomed == 6)
    board = bus.boards[2]
    board.unplug()
    changes: list[tuple[str, bool]] = []

    def seen(lost: bool) -> bool:
        changes.extend((one.state.device, one.lost) for one in bus.master.changes())
        return (board.device, lost) in changes

    assert bus.run_until(120, lambda: seen(True))
    stored = len(bus.journal.records)
    bus.run_until(720)  # ten minutes, after which it believes itself forgotten
    assert len(bus.journal.records) > stored + 250, "the others go on"
    polls = bus.master.unanswered
    assert polls < 30, "who does not answer is asked ever more rarely"
    assert board.log.next_seq() - board.log.oldest() > 50
    board.plug()
    assert bus.run_until(800, lambda: seen(False))
    finish(bus)
    assert [change for change in changes if change[0] != board.device] == []


def test_a_board_restarts_unnoticed() -> None:
    """What it was called is lost with its RAM: asked by its full name it says HELLO again."""
    bus = bus_with_readings(6, 4, poll_ms=2000)
    assert bus.run_until(60, lambda: bus.welcomed == 4)
    for _ in range(5):
        bus.run_until(bus.wire.now_us / 1e6 + 17.3)
        bus.boards[1].start()
    calls = bus.master.calls
    assert bus.run_until(bus.wire.now_us / 1e6 + 10, lambda: bus.welcomed == 4)
    assert bus.master.calls <= calls + 3
    finish(bus)


@pytest.mark.parametrize("seed", range(4))
def test_the_master_is_killed_and_started_again(seed: int) -> None:
    """At any moment of a turn, four times; boards that were welcomed notice by the number of its run."""
    bus = bus_with_readings(seed, 8, poll_ms=3000)
    for _ in range(4):
        bus.run_until(bus.wire.now_us / 1e6 + 40 + bus.wire.random.random())
        bus.kill()
        bus.run_until(bus.wire.now_us / 1e6 + 5)
        bus.start()
    assert bus.run_until(bus.wire.now_us / 1e6 + 60, lambda: len(bus.master.boards) == 8)
    finish(bus)


def test_a_new_board_joins_a_full_bus() -> None:
    """31 boards that are busy keep silent in the slots of a call; the new one is there within half a minute."""
    bus = bus_with_readings(8, 31)
    assert bus.run_until(120, lambda: bus.welcomed == 31)
    bus.run_until(200)
    new = bus.add(32)
    new.read_each(10_000, 0)
    heard = bus.wire.contended
    assert bus.run_until(232, lambda: new.endpoint.state == "R")
    assert bus.wire.contended == heard, "nobody spoke at the same time"
    assert bus.master.boards[new.log.stream].state.device == "board-32"
    finish(bus)


def test_a_long_backlog_does_not_starve_the_others() -> None:
    bus = Bus(9, 8, poll_ms=2000)
    assert bus.run_until(60, lambda: bus.welcomed == 8)
    for _ in range(2000):
        bus.boards[0].read()
    for board in bus.boards[1:]:
        board.read_each(10_000, 100)
    waited = []
    for _ in range(30):
        bus.run_until(bus.wire.now_us / 1e6 + 1)
        waited.append(max(board.log.next_seq() - board.log.oldest() for board in bus.boards[1:]))
    assert max(waited) <= 2, "a reading waits for one round"
    backlog = bus.boards[0].log.next_seq() - bus.boards[0].log.oldest()
    assert backlog < 2000 - 30 * 19, "it moves at most of the wire's rate"
    finish(bus)


def test_a_wire_that_is_jammed_works_again_when_it_is_free() -> None:
    """A board that never stops sending garbles everything for a minute."""
    bus = bus_with_readings(10, 5, poll_ms=2000)
    assert bus.run_until(60, lambda: bus.welcomed == 5)
    jam = bus.boards[4].party
    stuck = bus.wire.random.randbytes(1920 * 60)
    jam.drives = True
    bus.wire.send(jam, stuck)
    bus.run_until(bus.wire.now_us / 1e6 + 62)
    jam.drives = False
    finish(bus)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        bus = bus_with_readings(11, 5, noise=0.002, poll_ms=2000)
        bus.run_until(100)
        runs.append((bus.wire.busy_us, bus.wire.contended, bus.master.polls, len(bus.journal.records)))
    assert runs[0] == runs[1]
