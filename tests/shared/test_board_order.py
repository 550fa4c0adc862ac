"""In what order a board's endpoint sends its records, and what it passes over."""

from by_hand import NONCE, board, down, opened, ready, seqs, welcome
from memory_log import packets_of
from meuse_protocol.messages import ACK, BLOB, DATA


def test_the_newest_overtakes_the_backlog_and_alarms_overtake_all():
    endpoint, log = ready(100)
    seq = log.append(BLOB, 1, None, b"new")
    endpoint.record_added(seq)
    alarm = log.append(BLOB, 1, None, b"alarm")
    endpoint.record_added(alarm, True)
    endpoint.receive(down(ACK, 9, 32, None, 92 - 1, 1), 100)
    assert seqs(packets_of(endpoint, 100))[:3] == [alarm, seq, 32]


def test_holes_are_filled_before_new_records_when_an_ack_could_not_name_them_all():
    for islands, overtakes in ((8, True), (9, False)):
        endpoint, log = ready(100)
        endpoint.receive(down(ACK, 33, 32, None, *([1, 1] * (islands - 1))), 100)
        endpoint.record_added(log.append(BLOB, 1, None, b"new"))
        sent = seqs(packets_of(endpoint, 100))
        assert sent[0] == 100  # it was sent first of all, and is lost
        assert (sent[1] == 101) == overtakes


def test_what_the_host_has_beyond_cum_is_not_sent_again():
    endpoint, log = board(100)
    endpoint.link_up(0, 1024, NONCE)
    packets_of(endpoint, 0)
    endpoint.receive(welcome(cum=50), 10)
    endpoint.receive(down(ACK, 50, 32, None, 10, 41), 10)
    assert seqs(packets_of(endpoint, 10)) == list(range(50, 60))


def test_a_record_too_long_for_parts_of_the_narrowest_link_is_passed_over_and_counted():
    endpoint, log = board()
    log.append(DATA, 1, 1, 0, None, [1], [None] * 90)
    log.append(BLOB, 1, None, b"")
    endpoint.link_up(0, 25, NONCE)
    assert [opened(e2e)[2] for e2e in packets_of(endpoint, 0)[1:]] == [2]
    assert endpoint.counters == {"too_long": 1}


def test_a_wide_hole_in_the_log_is_crossed_in_steps():
    endpoint, log = board(150)
    for seq in range(2, 150):
        del log._kept[seq]
    endpoint.link_up(0, 1024, NONCE)
    found = []
    for _ in range(10):
        found += packets_of(endpoint, 0)
        assert endpoint.deadline() is not None
    assert seqs(found) == [150, 1]
    assert endpoint.deadline() > 0
