"""Uptime to UTC: the bound on the error holds on any line, and anchors are few."""

from memory_log import Lcg
from meuse_protocol.timesync import TimeSync

UTC = 1900000000000


def ask(sync, true_offset, sent_ms, up_ms, hold_ms, down_ms):
    t2 = sent_ms + up_ms + true_offset
    return sync.answer(sent_ms, t2, hold_ms, sent_ms + up_ms + hold_ms + down_ms)


def test_the_error_is_never_larger_than_told():
    random = Lcg(3)
    for _ in range(200):
        sync = TimeSync()
        now = random.below(1000000)
        for _ in range(6):
            up, hold, down = random.below(3000), random.below(5000), random.below(3000)
            assert ask(sync, UTC, now, up, hold, down)
            assert abs(sync.offset_ms - UTC) <= sync.err_ms
            now += 10000


def test_the_quickest_of_the_last_exchanges_counts():
    sync = TimeSync()
    ask(sync, UTC, 0, 500, 0, 500)
    assert sync.err_ms == 501
    ask(sync, UTC, 2000, 5, 100, 5)
    assert (sync.offset_ms, sync.err_ms) == (UTC, 6)
    ask(sync, UTC, 4000, 500, 0, 500)
    assert sync.err_ms == 6


def test_an_old_exchange_is_believed_less():
    sync = TimeSync()
    ask(sync, UTC, 0, 5, 0, 5)
    ask(sync, UTC, 3600000, 90, 0, 90)
    assert sync.err_ms == 91  # one hour at 50 ppm is 180 ms


def test_an_answer_that_cannot_be_true_is_refused():
    sync = TimeSync()
    assert not sync.answer(1000, UTC, 50, 1040)
    assert not sync.answer(1000, UTC, -1, 1040)
    assert sync.offset_ms is None and sync.anchor(1040) is None


def test_an_anchor_at_first_sync_when_the_error_halves_and_when_the_clock_moves():
    sync = TimeSync()
    ask(sync, UTC, 0, 200, 0, 200)
    assert sync.anchor(400) == (400, UTC + 400, 201)
    assert sync.anchor(500) is None
    ask(sync, UTC, 1000, 150, 0, 150)
    assert sync.anchor(1300) is None
    ask(sync, UTC, 2000, 100, 0, 100)
    assert sync.anchor(2200) is None  # 101 is not yet half of 201
    ask(sync, UTC, 3000, 20, 0, 20)
    assert sync.anchor(3040) == (3040, UTC + 3040, 21)
    ask(sync, UTC - 86400000, 5000, 20, 0, 20)  # the host's clock was set back by a day
    assert sync.offset_ms == UTC - 86400000
    assert sync.anchor(5040) == (5040, UTC - 86400000 + 5040, 21)
    ask(sync, UTC - 86400000, 6000, 20, 0, 20)
    assert sync.anchor(6040) is None


def test_a_clock_that_was_set_outweighs_a_better_answer_from_before():
    sync = TimeSync()
    ask(sync, UTC, 0, 5, 0, 5)
    assert sync.err_ms == 6
    ask(sync, UTC + 3600000, 1000, 50, 0, 50)
    assert (sync.offset_ms, sync.err_ms) == (UTC + 3600000, 51)
    ask(sync, UTC + 3600000, 2000, 90, 0, 90)
    assert sync.err_ms == 51


def test_time_before_1970_and_after_2106_is_only_a_number():
    for offset in (-5000000000, 1 << 43):
        sync = TimeSync()
        ask(sync, offset, 10, 3, 0, 3)
        assert sync.offset_ms == offset
