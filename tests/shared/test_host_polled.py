"""A host on a wire with several boards: what they are called, and what goes with a turn."""

from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse_protocol.auth import DOWN, direction_keys, mac
from meuse_protocol.messages import ACK, NEED, POLL, WELCOME, parse, record, splice
from meuse_protocol.polled import PolledEndpoint

CALL = [8, 93, 1]


def wire(count, boards=32):
    """A host, and `count` boards that it has not heard of."""
    devices = dict([("board-%d" % n, [bytes([n]) * 32]) for n in range(count)])
    host = MemoryHost(MemoryJournal(devices), boards=boards)
    found = []
    for n in range(count):
        log = MemoryLog(STREAM + n)
        found.append((PolledEndpoint("board-%d" % n, log.stream, bytes([n]) * 32, log), log))
        found[-1][0].link_up(0, 256, 1000 + n)
    return host, found


def greet(host, board, now_ms):
    """HELLO in a slot, WELCOME to all -> what the host said."""
    host.endpoint.call(now_ms, CALL)
    for e2e in packets_of(host.endpoint, now_ms):
        board.receive(e2e, now_ms)
    for e2e in packets_of(board, board.deadline()):
        host.receive(e2e, now_ms)
    said = packets_of(host.endpoint, now_ms)
    for e2e in said:
        board.receive(e2e, now_ms)
    return [parse(e2e, 8).fields for e2e in said]


def turn(host, board, stream, credit, now_ms, lost=()):
    """One turn -> (what the host sent, how many packets came); `lost`: their numbers in it."""
    sent = host.endpoint.poll(stream, credit)
    for e2e in sent:
        board.receive(e2e, now_ms)
    answers = packets_of(board, now_ms)
    for n in range(len(answers)):
        if n not in lost:
            host.receive(answers[n], now_ms, 1800000000000)
    host.commit(now_ms)
    for e2e in packets_of(host.endpoint, now_ms):
        board.receive(e2e, now_ms)
    return [parse(e2e, 8).fields for e2e in sent], len(answers)


def test_each_board_gets_an_alias_of_its_own_and_keeps_it():
    host, boards = wire(3)
    for n in range(3):
        said = greet(host, boards[n][0], 2000 * n + 2000)
        assert [fields[:2] + fields[4:5] for fields in said] == [[WELCOME, STREAM + n, n + 1]]
    again = greet(host, boards[1][0], 9000)
    assert again == []  # welcomed: it keeps silent
    boards[1][0].link_down(9500)
    boards[1][0].link_up(9500, 256, 5)
    assert greet(host, boards[1][0], 11000)[0][4] == 2


def test_a_turn_by_the_full_name_until_the_alias_is_used():
    host, [(board, log)] = wire(1)
    greet(host, board, 2000)
    fill(log, 3)
    sent, _ = turn(host, board, STREAM, 4, 3000)
    assert [fields[:2] for fields in sent] == [[POLL, STREAM]]
    sent, _ = turn(host, board, STREAM, 4, 4000)
    assert sent == [[POLL, 1, 4, 4]]
    sent = host.endpoint.poll(STREAM, 4)  # not heard
    assert parse(sent[0], 8).fields[:2] == [POLL, 1]
    assert parse(host.endpoint.poll(STREAM, 4)[0], 8).fields[:2] == [POLL, STREAM]


def test_an_ack_stands_in_front_where_cum_does_not_tell_all():
    host, [(board, log)] = wire(1)
    greet(host, board, 2000)
    turn(host, board, STREAM, 8, 3000)
    fill(log, 6)
    turn(host, board, STREAM, 8, 4000, lost=(2, 4))
    sent, count = turn(host, board, STREAM, 8, 4500)
    assert [fields[0] for fields in sent] == [ACK, POLL]
    assert count == 2, "what was lost, and nothing else"
    sent, _ = turn(host, board, STREAM, 8, 4600)
    assert [fields[0] for fields in sent] == [POLL]
    assert log.oldest() == 7 and host.endpoint.counters == {}


def test_no_ack_goes_out_by_itself():
    host, [(board, log)] = wire(1)
    greet(host, board, 2000)
    fill(log, 6)
    turn(host, board, STREAM, 8, 3000)
    assert packets_of(host.endpoint, 60000) == []


def test_stream_0_and_unknown_aliases_mean_nothing():
    host, [(board, log)] = wire(1)
    greet(host, board, 2000)
    ups = direction_keys(bytes(32), STREAM)[0]
    for n, short in ((0, 0), (1, 99)):
        body = record(4, 1, 1, None, b"x")
        host.receive(splice(body, short) + mac(ups, b"u", STREAM, body, 8), 10000 + 2000 * n)
        (asked,) = packets_of(host.endpoint, 10000 + 2000 * n)
        assert parse(asked).fields[:3] == [NEED, short, 1]
    assert host.endpoint.counters == {"unbound": 2}
    assert host.waiting == []


def test_one_boards_packets_do_not_pass_for_anothers():
    host, boards = wire(2)
    for n in range(2):
        greet(host, boards[n][0], 2000 * n + 2000)
    body = record(4, 1, 1, None, b"x")
    key = direction_keys(bytes([1]) * 32, STREAM + 1)[0]
    host.receive(splice(body, 1) + mac(key, b"u", STREAM + 1, body, 8), 9000)
    assert host.waiting == [] and host.endpoint.counters == {"bad_mac": 1}


def test_a_full_wire_and_room_on_it():
    host, boards = wire(3, boards=2)
    assert [len(greet(host, boards[n][0], 2000 * n + 2000)) for n in range(3)] == [1, 1, 0]
    assert host.endpoint.counters == {"wire_full": 1}
    host.endpoint.release(STREAM)
    assert greet(host, boards[2][0], 9000)[0][4] == 1
    assert host.endpoint.poll(STREAM, 4), "a board without alias can be asked by its full name"


def test_a_board_without_a_key_is_polled_by_its_full_name():
    host = MemoryHost(MemoryJournal({"bare-1": []}), True, boards=32)
    log = MemoryLog(STREAM)
    board = PolledEndpoint("bare-1", STREAM, None, log)
    board.link_up(0, 256, 7)
    host.endpoint.call(2000, CALL)
    for e2e in packets_of(host.endpoint, 2000):
        board.receive(e2e, 2000)
    for e2e in packets_of(board, board.deadline()):
        host.receive(e2e, 2000)
    for e2e in packets_of(host.endpoint, 2000):
        board.receive(e2e, 2000)
    fill(log, 3)
    for now_ms in (3000, 4000, 5000):
        for e2e in host.endpoint.poll(STREAM, 8):
            assert parse(e2e).stream == STREAM
            board.receive(e2e, now_ms)
        for e2e in packets_of(board, now_ms):
            host.receive(e2e, now_ms)
        host.commit(now_ms)
    assert log.oldest() == 4


def test_a_poll_carries_the_hosts_mac():
    host, [(board, _)] = wire(1)
    greet(host, board, 2000)
    (e2e,) = host.endpoint.poll(STREAM, 4)
    pdu = parse(e2e, 8)
    assert pdu.mac == mac(direction_keys(bytes(32), STREAM)[1], DOWN, STREAM, pdu.record, 8)
    assert PSK != bytes(32)
