"""A board and a host joined in memory: what a line, a crash or a restart must not change."""

from memory_host import MemoryHost, MemoryJournal, exchange
from memory_log import PSK, STREAM, Lcg, MemoryLog, fill, packets_of
from meuse_protocol import states
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import BLOB, GAP_LOG_FULL

UTC = 1800000000000


def joined(records=0, keys=(PSK,), trusted=False, stream=STREAM, log=None):
    log = log or MemoryLog(stream)
    fill(log, records)
    host = MemoryHost(MemoryJournal({"stove-1": list(keys)}), trusted)
    board = BoardEndpoint("stove-1", log.stream, keys[0] if keys else None, log)
    board.link_up(0, 1024, 7)
    return board, host, log


def settle(board, host, now_ms, random=None, loss=0):
    """Until nobody has anything to say for a while; packets are lost one in `loss`."""
    idle = 0
    while idle < 20:
        idle += 1
        for e2e in packets_of(board, now_ms):
            idle = 0
            if not loss or random.below(loss):
                host.receive(e2e, now_ms, UTC + now_ms)
        host.commit(now_ms)
        for e2e in packets_of(host.endpoint, now_ms):
            idle = 0
            if not loss or random.below(loss):
                board.receive(e2e, now_ms)
        while board.next_event():
            pass
        dues = [board.deadline(), host.endpoint.deadline(now_ms)]
        dues = [due for due in dues if due is not None]
        if idle and board.state == states.READY and min(dues) > now_ms + 60000:
            return
        now_ms = now_ms + 1 if not idle else max([now_ms + 1, min(dues)])
    raise AssertionError("a deadline without anything to do")


def everything(log, host):
    """Whatever was made is stored as it was made."""
    stored = {seq: made for (stream, seq), made in host.journal.records.items() if stream == log.stream}
    return stored == log.created


def test_a_backlog_arrives_and_is_forgotten():
    board, host, log = joined(100)
    up, down = exchange(board, host, 0)
    exchange(board, host, 300)
    assert everything(log, host) and log.oldest() == 101
    assert up == 102 and down < 60
    assert board.counters == {} and host.endpoint.counters == {}


def test_a_board_without_a_key_on_a_trusted_cable():
    board, host, log = joined(20, keys=(), trusted=True)
    exchange(board, host, 0)
    exchange(board, host, 300)
    assert everything(log, host) and log.oldest() == 21


def test_loss_in_both_directions_only_costs_time():
    for seed in range(5):
        random = Lcg(seed)
        board, host, log = joined(60)
        settle(board, host, 0, random, loss=3)
        assert everything(log, host), seed
        assert log.oldest() == 61, seed


def test_a_host_killed_before_or_after_its_commit():
    for commit in (False, True):
        board, host, log = joined(30)
        for e2e in packets_of(board, 0):
            host.receive(e2e, 0, UTC)
        if commit:
            host.journal.commit(host.waiting)
        host.journal.restart()
        host = MemoryHost(host.journal)
        host.endpoint.call(100)
        settle(board, host, 100)
        assert everything(log, host)


def test_a_board_cut_between_sending_and_flushing():
    board, host, log = joined(10)
    log.flush()
    fill(log, 5)
    exchange(board, host, 0)  # 11 to 15 are stored by the host and were never flushed
    fill(log, 3)  # 16 to 18 are neither
    log.crash()
    board = BoardEndpoint("stove-1", STREAM, PSK, log)
    board.link_up(1000, 1024, 8)
    fill(log, 2)
    settle(board, host, 1000)
    state = host.journal.stream(STREAM)
    assert log.oldest() == log.next_seq() == state.cum
    assert state.gapped.ranges() == [(16, 64)]
    stored = [seq for _, seq in sorted(host.journal.records)]
    assert stored == list(range(1, 16)) + [65, 66, 67]


def test_a_wiped_board_comes_with_a_new_stream():
    board, host, log = joined(10)
    exchange(board, host, 0)
    board.link_down(50)
    fresh = MemoryLog(STREAM + 77)
    fill(fresh, 5)
    board = BoardEndpoint("stove-1", STREAM + 77, PSK, fresh)
    board.link_up(100, 1024, 8)
    exchange(board, host, 100)
    exchange(board, host, 400)
    assert everything(log, host) and everything(fresh, host)
    assert [event.new for event in host.seen] == [True, True]


def test_dropped_records_are_settled_by_the_gap():
    board, host, log = joined(100)
    log.drop_oldest(40, GAP_LOG_FULL)
    settle(board, host, 0)
    state = host.journal.stream(STREAM)
    assert state.gapped.ranges() == [(1, 40)] and log.oldest() == 102


def test_another_host_starts_where_the_board_still_has_something():
    board, host, log = joined(50)
    exchange(board, host, 0)
    exchange(board, host, 300)
    board.link_down(400)
    fill(log, 10)
    other = MemoryHost(MemoryJournal({"stove-1": [PSK]}))
    board.link_up(500, 1024, 9)
    settle(board, other, 500)
    state = other.journal.stream(STREAM)
    assert state.gapped.ranges() == [(1, 50)] and log.oldest() == 61
    assert sorted([seq for _, seq in other.journal.records]) == list(range(51, 61))


def test_full_storage_holds_the_board_and_lets_it_go_on():
    board, host, log = joined(100)
    for e2e in packets_of(board, 0):
        host.receive(e2e, 0, UTC)
    host.endpoint.set_window(0, 10)
    for e2e in packets_of(host.endpoint, 10):
        board.receive(e2e, 10)
    assert board.state == states.HELD
    host.endpoint.dropped(STREAM, [event.seq for event in host.waiting])
    host.waiting = []
    host.endpoint.set_window(32, 5000)
    settle(board, host, 5000)
    assert everything(log, host) and log.oldest() == 101


def test_live_first_behind_a_long_backlog():
    board, host, log = joined(500)
    for now in range(0, 2000, 20):
        seq = 0
        if now % 200 == 0:
            seq = log.append(BLOB, 1, None, b"live %d" % now)
            board.record_added(seq)
        for _ in range(4):  # as much as the line takes in 20 ms
            e2e = board.next_pdu(now)
            if e2e:
                host.receive(e2e, now, UTC)
        host.commit(now)
        for e2e in packets_of(host.endpoint, now):
            board.receive(e2e, now)
        assert not seq or (STREAM, seq) in host.journal.records
    assert 300 < len(host.journal.records) < 500
    settle(board, host, 2000)
    assert everything(log, host)
