"""In what order a board's endpoint sends its records, and what it passes over."""

from by_hand import NONCE, board, down, opened, ready, seqs, welcome
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import ACK, BLOB, DATA, NEED


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


def test_a_record_that_flash_failed_to_give_once_goes_later():
    endpoint, log = ready(0)
    for _ in range(5):
        endpoint.record_added(log.append(BLOB, 1, None, b"x"))
    kept, log._kept[3] = log._kept[3], None
    assert sorted(seqs(packets_of(endpoint, 10))) == [1, 2, 4, 5]
    log._kept[3] = kept
    endpoint.receive(down(ACK, 3, 32, None, 1, 2), 20)
    assert seqs(packets_of(endpoint, 20)) == []
    at = endpoint._scan_ms
    assert endpoint.deadline() <= at and at > 20
    assert seqs(packets_of(endpoint, at)) == [3]


def test_a_host_that_was_put_back_while_the_line_stayed_open_gets_what_it_lost():
    endpoint, log = ready(0)
    for _ in range(5):
        endpoint.record_added(log.append(BLOB, 1, None, b"x"))
    log.flush()
    packets_of(endpoint, 10)
    endpoint.receive(down(ACK, 2, 32, None, 1, 3), 20)
    packets_of(endpoint, 20)
    endpoint.receive(down(ACK, 2, 32, None, 1, 3), 30)
    endpoint.receive(down(NEED, 1), 2000)
    packets_of(endpoint, 2000)
    endpoint.receive(welcome(cum=2), 2010)
    assert sorted(seqs(packets_of(endpoint, 2010))) == [3, 4, 5]


def test_while_the_window_is_full_it_does_not_ask_to_be_called():
    endpoint, log = ready(150)
    for seq in range(33, 140):
        del log._kept[seq]
    endpoint.receive(down(ACK, 31, 32), 100)
    endpoint.next_pdu(100)
    endpoint.receive(down(ACK, 31, 1), 110)
    packets_of(endpoint, 110)
    assert endpoint.deadline() > 110


def test_an_ack_that_had_no_room_for_all_ranges_proves_nothing_above_them():
    for mtu, again in ((1024, [1, 8]), (100, [1])):
        log = MemoryLog()
        endpoint = BoardEndpoint("stove-1", STREAM, PSK, log)
        endpoint.link_up(0, mtu, NONCE)
        endpoint.receive(welcome(), 0)
        endpoint.record_added(fill(log, 8)[-1])
        assert seqs(packets_of(endpoint, 10)) == [8] + list(range(1, 8))
        endpoint.receive(down(ACK, 1, 32, None, 1, 1), 20)  # 2, sent after 8 and 1
        assert seqs(packets_of(endpoint, 20)) == again


class FullHeap:
    """A log whose records find no room in the heap for a while."""

    def __init__(self, log, times):
        self._log = log
        self._times = times
        self.oldest, self.next_seq, self.acked = log.oldest, log.next_seq, log.acked

    def get(self, seq):
        self._times -= 1
        if self._times >= 0:
            raise MemoryError
        return self._log.get(seq)


def test_without_memory_to_send_it_waits_a_second_with_half_the_window():
    log = MemoryLog()
    fill(log, 40)
    endpoint = BoardEndpoint("stove-1", STREAM, PSK, FullHeap(log, 2))
    endpoint.link_up(0, 1024, NONCE)
    endpoint.receive(welcome(), 0)
    assert seqs(packets_of(endpoint, 0)) == []
    assert endpoint.deadline() == 1000
    assert seqs(packets_of(endpoint, 1000)) == []
    found = seqs(packets_of(endpoint, 2000))
    assert len(found) == 8 and found[0] in (1, 40)
    assert endpoint.counters == {"no_memory": 2}


def test_without_memory_to_receive_the_window_is_halved():
    endpoint, log = ready(40)

    def full(*_):
        raise MemoryError

    endpoint._log = FullHeap(log, 0)
    endpoint._log.acked = full
    for _ in range(7):
        endpoint.receive(down(ACK, 2, 32), 100)
    assert endpoint._limit == 1 and endpoint.counters == {"no_memory": 7}
