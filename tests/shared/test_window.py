"""Loss inference, timeouts, Karn's rule: one link's window, record by record."""

from meuse_protocol.received import SEQ_MAX, RangeSet
from meuse_protocol.window import Window


def stored(*seqs):
    found = RangeSet()
    for seq in seqs:
        found.add(seq)
    return found


def sending(window, seqs, now_ms, clean=True):
    for seq in seqs:
        window.sent(seq, now_ms, clean)
        now_ms += 10
    return now_ms


def test_what_was_sent_before_a_proved_transmission_is_lost():
    window = Window()
    sending(window, (1, 2, 3, 4), 0)
    assert window.acked(stored(3), 200, SEQ_MAX) == 1
    assert window.lost == [1, 2]
    assert len(window) == 1 and window.has(4) and window.has(1) and not window.has(3)


def test_a_link_that_reorders_needs_three_newer_ones():
    window = Window(3)
    sending(window, (1, 2, 3, 4, 5), 0)
    window.acked(stored(3), 200, SEQ_MAX)
    assert window.lost == []
    window.acked(stored(3, 4), 210, SEQ_MAX)
    assert window.lost == [1]
    window.acked(stored(3, 4, 5), 220, SEQ_MAX)
    assert window.lost == [1, 2]


def test_a_repeated_record_proves_only_what_can_have_come_back():
    window = Window()
    sending(window, (1, 2), 0)
    window.acked(stored(2), 410, SEQ_MAX)  # round trip 400
    assert window.lost == [1]
    window.sent(3, 420, True)
    window.sent(1, 430, True)
    # 1 is acknowledged 50 ms after its second copy: that must be the first one's doing.
    assert window.acked(stored(1, 2), 480, SEQ_MAX) == 1
    assert window.lost == [] and window.has(3)
    window = Window()
    sending(window, (1, 2), 0)
    window.acked(stored(2), 410, SEQ_MAX)
    window.sent(3, 420, True)
    window.sent(1, 430, True)
    window.acked(stored(1, 2), 430 + 360, SEQ_MAX)
    assert window.lost == [3]


def test_nothing_is_inferred_beyond_what_the_ack_speaks_of():
    window = Window()
    sending(window, (50, 1, 2), 0)
    window.acked(stored(2), 100, 2)
    assert window.lost == [1]
    assert window.has(50)


def test_round_trips_are_taken_from_clean_transmissions_only():
    window = Window()
    assert window.rto_ms == 1250
    window.sent(1, 0, False)
    window.acked(stored(1), 5, SEQ_MAX)
    assert window.rto_ms == 1250
    window.sent(2, 100, True)
    window.acked(stored(1, 2), 500, SEQ_MAX)
    assert window.rto_ms == 400 + 4 * 200 + 250  # RFC 6298, 2.2, and the host's delay
    window.sent(3, 600, True)
    window.acked(stored(1, 2, 3), 1000, SEQ_MAX)
    assert window.rto_ms == 400 + 4 * 150 + 250
    for n in range(4, 40):
        window.sent(n, n * 1000, True)
        window.acked(stored(*range(1, n + 1)), n * 1000 + 1, SEQ_MAX)
    assert window.rto_ms >= 200 + 250


def test_the_timer_sends_two_and_waits_longer_up_to_four_times():
    window = Window()
    assert window.deadline() is None
    sending(window, range(1, 11), 0)
    assert window.deadline() == 1250
    window.expire(1250)
    assert window.lost == [1, 2]
    assert window.deadline() == 1250 + 2500
    window.expire(3750)
    assert window.lost == [1, 2, 3, 4]
    assert window.deadline() == 3750 + 5000
    window.expire(8750)
    assert window.deadline() == 8750 + 5000
    window.sent(11, 8800, True)
    window.acked(stored(9), 9000, SEQ_MAX)
    assert window.deadline() == 9000 + 5000  # it saw a timeout: nothing is known of the line yet
    window.acked(stored(9, 11), 9200, SEQ_MAX)
    window.sent(12, 9200, True)
    assert window.deadline() == 9200 + window.rto_ms


def test_after_a_timeout_an_answer_is_not_timed_unless_it_goes_on():
    window = Window()
    window.sent(1, 0, True)
    window.acked(stored(1), 100, SEQ_MAX)
    assert window.rto_ms == 100 + 4 * 50 + 250
    now = 1000
    for n in range(2, 5):
        sending(window, (3 * n, 3 * n + 1, 3 * n + 2), now)
        window.expire(now + 550)
        window.acked(stored(*range(1, 3 * n + 3)), now + 3000, SEQ_MAX)
        now += 4000
        assert (window.rto_ms == 550) == (n < 4)  # the third time it is the line that is slow
    assert window.rto_ms > 2000


def test_what_is_lost_is_forgotten_when_it_is_stored_after_all_or_gone():
    window = Window()
    sending(window, (1, 2, 3), 0)
    window.acked(stored(3), 100, SEQ_MAX)
    assert window.lost == [1, 2]
    assert window.acked(stored(1, 3), 110, SEQ_MAX) == 0
    assert window.lost == [2]
    window.forget(2)
    assert window.lost == [] and not window.has(2)
    window.forget(2)


def test_put_back_forgets_what_flies_and_keeps_the_round_trip():
    window = Window()
    window.sent(1, 0, True)
    window.acked(stored(1), 40, SEQ_MAX)
    before = window.rto_ms
    sending(window, (2, 3), 50)
    window.put_back()
    assert len(window) == 0 and window.deadline() is None and window.rto_ms == before
