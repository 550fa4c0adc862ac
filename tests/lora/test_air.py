"""Many boards and a gateway on one channel, in virtual time: what is stored, how often it was sent, what waited."""

import itertools
import random

import pytest
from meuse_board.links.airtime import DutyCycle, air_ms
from sim.world.devices.sx127x import Air, Sx127x

from tests.lora.world import World

SIMULATED = "simulated in virtual time: SX127x at register level, collisions, loss"
BOARD = "the firmware's link, driver, runner and endpoint, run by CPython in virtual time"
HOST = "the host's endpoint behind the same link, storage in memory"
HOUR_US = 3600e6

# Worked out by hand from 4.1.1.7; the first four are those that any calculator gives.
KNOWN_US = {
    (51, 7, 125, 5): 102_656,
    (51, 9, 125, 5): 328_704,
    (51, 10, 125, 5): 616_448,
    (51, 12, 125, 5): 2_465_792,
    (222, 7, 125, 5): 348_416,
    (12, 7, 250, 5): 20_608,
    (20, 11, 125, 8): 987_136,
}


def test_time_on_air_is_that_of_the_datasheet() -> None:
    for (size, sf, bandwidth, coding), us in KNOWN_US.items():
        assert air_ms(size, sf, bandwidth, coding) == -(-us // 1000), (size, sf)


def test_link_and_simulated_chip_reckon_alike() -> None:
    """One in integers, one in floating point, by registers: for every length and setting."""
    chip = Sx127x(1, Air(lambda: 0.0))
    for sf, (khz, bits), coding in itertools.product(range(7, 13), ((125, 7), (250, 8)), range(5, 9)):
        slow = 8 if 2**sf / khz > 16 else 0
        for register, value in ((0x1D, bits << 4 | coding - 4 << 1), (0x1E, sf << 4 | 4), (0x26, slow)):
            chip.selected()
            chip.exchange(bytes((register | 0x80, value)))
        for size in range(1, 256):
            assert 0 <= air_ms(size, sf, khz, coding) - chip.air_us(size) / 1000 < 1


def test_no_hour_has_more_than_its_share() -> None:
    """Whoever sends whenever it may: any 3,600 s, wherever they begin, have at most 36 s, and nearly that."""
    chance = random.Random(1)
    duty, now, sent = DutyCycle(10), 0, []
    while now < 6 * 3_600_000:
        ms = chance.randrange(50, 3000)
        if duty.room(now, ms):
            duty.spend(now, ms)
            sent.append((now, ms))
        now += chance.randrange(1, 20_000)
    hours = [sum(ms for at, ms in sent if begin <= at < begin + 3_600_000) for begin, _ in sent]
    assert max(hours) <= 36_000
    assert max(hours) > 25_000


def most_in_an_hour_us(world: World, cs: int) -> float:
    own = [(begin, end - begin) for who, begin, end in world.air.log if who == cs]
    return max(sum(took for at, took in own if begin <= at < begin + HOUR_US) for begin, _ in own)


@pytest.mark.link("lora", board=BOARD, wire=SIMULATED, host=HOST)
@pytest.mark.parametrize("seed", range(3))
def test_a_channel_that_loses_a_fifth_loses_no_record(seed: int) -> None:
    world = World(seed, lose=0.2, damage=0.02)
    for _ in range(60):
        world.boards[0].read()
    assert world.run_until(world.complete, 1200)
    world.check()
    up = sum(who == 1 for who, _, _ in world.air.log)
    print(f"60 records: {up} packets up, {len(world.air.log) - up} down, {world.now / 1000:.0f} s")
    assert up <= 60 * 1.5 + 10


@pytest.mark.link("lora", board=BOARD, wire=SIMULATED, host=HOST)
def test_eight_boards_share_a_channel() -> None:
    """One record a minute each, for a quarter of an hour; they started together. A tenth of the time is sent."""
    world = World(5, boards=8, lose=0.02, sf=9)
    for board in world.boards:
        board.read_each(60_000)
    world.run(900)
    for board in world.boards:
        board.period_ms = 0
    assert world.run_until(world.complete, 600)
    world.check()
    records = len(world.journal.records)
    up = sum(who > 0 for who, _, _ in world.air.log)
    print(f"{records} records: {up} packets up, {len(world.air.log) - up} down, {world.air.met} met")
    assert records >= 8 * 14
    assert up <= records * 1.5 + 8 * 6, "beside records a HELLO and five questions for the time"


@pytest.mark.link("lora", board=BOARD, wire=SIMULATED, host=HOST)
def test_a_backlog_keeps_to_the_hours_share_and_leaves_room_for_what_is_new() -> None:
    """SF12: 2.5 s for a record. 24 wait, and every ten minutes there is another one."""
    world = World(7, sf=12)
    (board,) = world.boards
    for _ in range(24):
        board.read()
    world.run(60)
    waited = []
    for _ in range(6):
        board.read()
        newest, since_ms = board.log.next_seq() - 1, world.now
        assert world.run_until(lambda: (board.log.stream, newest) in world.journal.records, 900)  # noqa: B023
        waited.append((world.now - since_ms) / 1000)
        world.run(600 - (world.now - since_ms) / 1000)
    assert len(world.journal.records) < 30, "the share of the hour is not enough for all"
    print(f"{len(world.journal.records)} records in an hour; a new one waited {max(waited):.0f} s at most")
    assert most_in_an_hour_us(world, 1) <= 36e6
    assert world.run_until(world.complete, 20_000)
    world.check()


def test_a_disturber_delays_and_does_not_silence() -> None:
    """Somebody with the same settings sends without end."""
    world = World(9, duty_permille=1000)
    stranger = Sx127x(50, world.air)
    (board,) = world.boards
    for register, values in board.link._radio._setup:
        stranger.selected()
        stranger.exchange(bytes((register | 0x80,)) + values)
    for mode in (0x80, 0x80, 0x81):
        stranger.selected()
        stranger.exchange(bytes((0x81, mode)))
    jam_until = 60_000

    def jam() -> bool:
        stranger.selected()
        if world.now < jam_until and stranger.mode != 3:
            stranger.exchange(b"\xa2\xff")  # 255 bytes
            stranger.selected()
            stranger.exchange(b"\x81\x83")
        return world.now >= jam_until

    board.read()
    assert world.run_until(jam, 120)
    assert board.link.sent > 5, "it does not wait for ever"
    assert world.run_until(world.complete, 600)
    world.check()
