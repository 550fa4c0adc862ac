"""The board's end against packets made by hand: what it sends when, and what it makes of answers."""

from by_hand import NONCE, UTC, board, down, kinds, opened, ready, seqs, welcome
from memory_log import STREAM, events_of, packets_of
from meuse_protocol import states
from meuse_protocol.board_endpoint import Acked, Time, Welcomed
from meuse_protocol.errors import LocalError
from meuse_protocol.messages import (
    ACK,
    BLOB,
    CMD,
    ERR,
    HELLO,
    NEED,
    PING,
    TIME,
    TIMEQ,
    WELCOME,
    parse,
    record,
    splice,
)
from meuse_protocol.reactions import Command, Needed, Refused


def test_hello_goes_first_and_says_what_the_log_holds():
    endpoint, log = board(3)
    endpoint.schemas = [[1, b"\x01\x02\x03\x04"]]
    assert endpoint.next_pdu(0) is None and endpoint.deadline() is None
    endpoint.link_up(500, 1024, NONCE)
    assert endpoint.deadline() == 500
    packets = packets_of(endpoint, 500)
    hello = [HELLO, STREAM, 0x10, 0, 1, 4, 1024, 32, "stove-1", [[1, b"\x01\x02\x03\x04"]], NONCE]
    assert opened(packets[0]) == hello
    assert seqs(packets) == [3, 1, 2]  # the newest first, then from the oldest
    assert [opened(e2e)[1] for e2e in packets[1:]] == [STREAM] * 3


def test_eight_records_before_welcome_then_the_smaller_window():
    endpoint, log = board(100)
    endpoint.link_up(0, 1024, NONCE)
    assert len(seqs(packets_of(endpoint, 0))) == 8
    endpoint.receive(welcome(win=20), 100)
    packets = packets_of(endpoint, 100)
    assert len(seqs(packets)) == 12
    assert {opened(e2e)[1] for e2e in packets} == {0}
    assert Welcomed(0x10, 1, 20) in events_of(endpoint)
    endpoint.receive(down(ACK, 8, 5), 200)
    assert seqs(packets_of(endpoint, 200)) == []


def test_hello_is_repeated_ever_more_rarely_until_welcome():
    endpoint, _ = board()
    endpoint.link_up(0, 1024, NONCE)
    sent, now = [], 0
    while now is not None and now < 300000:
        sent += [(now, kind) for kind in kinds(packets_of(endpoint, now))]
        now = endpoint.deadline()
    times = [at for at, kind in sent]
    assert times[:4] == [0, 1250, 3750, 8750]
    assert {kind for _, kind in sent} == {HELLO}
    assert max([times[i + 1] - times[i] for i in range(len(times) - 1)]) == 60000
    endpoint.receive(welcome(), now)
    assert HELLO not in kinds(packets_of(endpoint, now))


def test_welcome_must_echo_the_nonce():
    endpoint, _ = board()
    endpoint.link_up(0, 1024, NONCE)
    packets_of(endpoint, 0)
    endpoint.receive(welcome(nonce=NONCE + 1), 10)
    assert endpoint.state == states.GREETING and endpoint.counters == {"welcome_stale": 1}


def test_acknowledged_records_leave_the_log_and_are_told():
    endpoint, log = ready(10)
    endpoint.receive(down(ACK, 4, 32, None, 2, 3), 100)  # 1-3 and 6-8
    assert log.oldest() == 4
    assert log.get(7) is None  # never flushed, no longer needed
    assert Acked(4, 6) in events_of(endpoint)
    assert seqs(packets_of(endpoint, 100)) == [4, 5, 10]  # sent before 8: lost


def test_a_timeout_sends_two_again_and_silence_makes_it_ask_rarely():
    endpoint, log = ready(5)
    times = {}
    now = 0
    while now < 1000000:
        for e2e in packets_of(endpoint, now):
            times.setdefault(opened(e2e)[0], []).append(now)
        now = endpoint.deadline()
    assert endpoint.state == states.QUIET
    blobs, pings = times[BLOB], times[PING]
    assert 4 <= len(blobs) <= 12 and blobs[-1] < 11000
    assert pings[0] >= 10000
    gaps = [pings[i + 1] - pings[i] for i in range(len(pings) - 1)]
    assert gaps[:7] == [5000, 10000, 20000, 40000, 80000, 160000, 300000]
    endpoint.receive(down(ACK, 1, 32), now)
    assert endpoint.state == states.GREETING
    packets = packets_of(endpoint, now)
    assert kinds(packets)[0] == HELLO
    assert seqs(packets) == [5, 1, 2, 3, 4]


def test_one_record_without_an_answer_is_silence_too():
    endpoint, log = ready(0)
    endpoint.record_added(log.append(BLOB, 1, None, b"x"))
    now = 50000
    while now < 60000:
        assert endpoint.state == states.READY
        packets_of(endpoint, now)
        now = endpoint.deadline()
    packets_of(endpoint, 60000)
    assert now == 60000 and endpoint.state == states.QUIET


def test_window_zero_stops_records_and_is_probed():
    endpoint, log = ready(50)
    endpoint.receive(down(ACK, 9, 0), 100)
    assert endpoint.state == states.HELD
    assert packets_of(endpoint, 100) == []
    times, now = [], endpoint.deadline()
    while now < 200000:
        sent = kinds(packets_of(endpoint, now))
        times += [now] * sent.count(PING)
        assert not set(sent) - {PING, TIMEQ}
        now = endpoint.deadline()
    assert times[:5] == [5100, 10100, 20100, 40100, 70100]
    endpoint.receive(down(ACK, 9, 4), now)
    assert seqs(packets_of(endpoint, now)) == [50, 9, 10, 11]


def test_link_down_puts_back_what_was_in_flight():
    endpoint, log = ready(5)
    assert packets_of(endpoint, 0) == []
    endpoint.link_down(100)
    assert endpoint.next_pdu(100) is None and endpoint.deadline() is None
    endpoint.link_up(200, 1024, NONCE + 1)
    packets = packets_of(endpoint, 200)
    assert seqs(packets) == [5, 1, 2, 3, 4]
    assert opened(packets[0])[-1] == NONCE + 1
    endpoint.link_down(300)
    endpoint.link_down(300)
    endpoint.link_up(400, 1024, NONCE)
    try:
        endpoint.link_up(500, 1024, NONCE)
    except LocalError:
        return
    raise AssertionError("link_up twice")


def test_time_is_asked_four_times_then_every_quarter_of_an_hour():
    endpoint, _ = board()
    endpoint.link_up(0, 1024, NONCE)
    packets_of(endpoint, 0)
    endpoint.receive(welcome(), 100)
    now, asked, tokens = 100, [], set()
    while now < 2000000:
        for e2e in packets_of(endpoint, now):
            kind, _, token = opened(e2e)
            assert kind == TIMEQ
            asked.append(now)
            tokens.add(token)
            endpoint.receive(down(TIME, token, UTC + now + 20, 10), now + 50)
        now = endpoint.deadline()
    assert asked == [100, 1150, 2200, 3250, 903300, 1803350]
    assert len(tokens) == 6
    times = [event for event in events_of(endpoint) if isinstance(event, Time)]
    assert times[0] == Time(UTC, 21, (150, UTC + 150, 21))
    assert [event.anchor for event in times[1:]] == [None] * 5


def test_time_without_answer_is_asked_ever_more_rarely_and_old_answers_do_not_count():
    endpoint, _ = ready()
    now, asked = 0, [0]
    while now < 3000000:
        now = endpoint.deadline()
        asked += [now] * len(packets_of(endpoint, now))
    gaps = [asked[i + 1] - asked[i] for i in range(len(asked) - 1)]
    assert gaps[:4] == [5000, 10000, 20000, 40000] and max(gaps) == 900000
    endpoint.receive(down(TIME, NONCE + 1, UTC, 0), now)  # the first token, long replaced
    assert endpoint.counters == {"time_stale": 1} and endpoint.time.offset_ms is None


def test_called_by_an_unsigned_need_it_says_hello_once_a_second_and_nothing_else():
    endpoint, _ = ready(3)
    call = splice(record(NEED, 1), 0)
    hellos = 0
    for now in range(2000, 5000, 100):
        endpoint.receive(call, now)
        hellos += kinds(packets_of(endpoint, now)).count(HELLO)
    assert hellos == 3
    assert endpoint.state == states.GREETING and endpoint.counters == {}
    endpoint.receive(welcome(), 5000)
    assert endpoint.state == states.READY


def test_other_unsigned_packets_are_forgeries():
    endpoint, log = ready(3)
    for body in ((ACK, 4, 32), (WELCOME, 0x10, 0, 0, 4, 32, NONCE), (NEED, 0), (TIME, NONCE + 1, 0, 0)):
        endpoint.receive(splice(record(*body), 0), 10)
    assert endpoint.counters == {"bad_mac": 4}
    assert log.oldest() == 1 and events_of(endpoint) == []
    endpoint.receive(splice(record(ERR, 1, "1.0..1.0"), 0), 10)
    assert endpoint.state == states.READY
    assert events_of(endpoint) == [Refused(1, "1.0..1.0", None)]


def test_a_flood_of_forgeries_mutes_it_for_ten_seconds():
    endpoint, log = ready(3)
    forged = down(ACK, 4, 32)[:-1] + b"x"
    for _ in range(11):
        endpoint.receive(forged, 1000)
    endpoint.receive(down(ACK, 4, 32), 10999)
    assert log.oldest() == 1
    assert endpoint.counters == {"bad_mac": 11, "muted": 1}
    endpoint.receive(down(ACK, 4, 32), 11000)
    assert log.oldest() == 4


def test_no_common_version_keeps_all_data_and_asks_every_minute():
    for answer in (welcome(version=0x20), down(ERR, 1, "2.0..2.1")):
        endpoint, log = board(3)
        endpoint.link_up(0, 1024, NONCE)
        packets_of(endpoint, 0)
        endpoint.receive(answer, 100)
        assert endpoint.state == states.REFUSED
        assert packets_of(endpoint, 100) == [] and endpoint.deadline() == 60100
        assert kinds(packets_of(endpoint, 60100)) == [HELLO]
        assert endpoint.deadline() == 120100
        endpoint.receive(welcome(), 60200)
        assert sorted(seqs(packets_of(endpoint, 60200))) == [1, 2, 3]


def test_needs_are_passed_on_a_few_times_a_minute():
    endpoint, _ = ready()
    for now in range(0, 60000, 1000):
        endpoint.receive(down(NEED, 0, [1]), now)
        endpoint.receive(down(NEED, 3), now)
    found = events_of(endpoint)
    assert found[:4] == [Needed(0, [1]), Needed(3, None)] * 2
    assert len(found) == 7
    assert endpoint.counters == {"need_limited": 113}
    endpoint.receive(down(NEED, 2, []), 60000)
    assert endpoint.counters["unknown_control"] == 1


def test_commands_are_passed_on():
    endpoint, _ = ready()
    endpoint.receive(down(CMD, 7, [3, 5000], "led", True), 100)
    assert events_of(endpoint) == [Command(7, [3, 5000], "led", True)]


def test_a_record_refused_eight_times_is_set_aside():
    endpoint, log = ready(2)
    for _ in range(8):
        endpoint.receive(down(ERR, 3, "too deep", 2), 100)
    refused = events_of(endpoint)
    assert refused[:7] == [Refused(3, "too deep", None)] * 7
    assert refused[7] == Refused(3, "too deep", 2)
    endpoint.link_down(200)
    endpoint.link_up(300, 1024, NONCE)
    assert seqs(packets_of(endpoint, 300)) == [1]


def test_of_many_refused_records_all_are_set_aside_in_time():
    endpoint, log = ready(12)
    packets_of(endpoint, 0)
    aside = []
    for tries in range(200):
        for seq in range(1, 13):
            if seq not in aside:
                endpoint.receive(down(ERR, 3, "too deep", seq), 100)
        for event in events_of(endpoint):
            if isinstance(event, Refused) and event.seq:
                aside.append(event.seq)
        if len(aside) == 8:
            endpoint.receive(down(ACK, 9, 32, None, 100, 1), 100)  # their GAPs are acknowledged
    assert sorted(aside) == list(range(1, 13))


def test_an_ack_is_believed_only_where_it_can_be_true():
    endpoint, log = ready(10)
    endpoint.receive(down(ACK, 6, 32), 100)
    cases = (
        ((5, 32), "ack_stale"),
        ((6, 32, None, 2, -1), "ack_malformed"),
        ((6, 32, None, 0, 2), "ack_malformed"),
        ((6, 32, None, 2, 9), "ack_malformed"),
        ((6, 32, None, None, 2), "ack_malformed"),
        ((6, 32, None, 2, 1.5), "ack_malformed"),
        ((99, 32), "ack_beyond"),
    )
    for body, counter in cases:
        endpoint.counters = {}
        endpoint.receive(down(ACK, *body), 110)
        assert endpoint.counters == {counter: 1}, body
    assert log.oldest() == 11
    assert log.next_seq() == 11


def test_what_is_not_for_it_or_makes_no_sense_only_counts():
    endpoint, _ = ready()
    cases = (
        (b"", "malformed"),
        (b"\x93\x20\x00", "malformed"),
        (bytes(40), "malformed"),
        (down(ACK), "malformed"),
        (down(ACK, "x"), "malformed"),
        (down(ACK, 1, 32) + b"\x00", "malformed"),
        (down(ACK, 1, 32)[:-1] + b"\x00", "bad_mac"),
        (down(ACK, 1, 32, stream=0x80000002), "other_stream"),
        (down(ACK, 1, 32, stream=5), "other_stream"),
        (down(37, 1, 2), "unknown_control"),
        (down(99), "unknown_control"),
        (down(HELLO, 16, 0, 1, 1, 100, 8, "x", [], 1), "unexpected"),
        (down(PING), "unexpected"),
        (down(BLOB, 1, 1, None, b""), "unexpected"),
    )
    for e2e, counter in cases:
        endpoint.counters = {}
        endpoint.receive(e2e, 5000)
        assert endpoint.counters == {counter: 1}, e2e
    assert events_of(endpoint) == []


def test_without_a_key_nothing_carries_a_mac():
    endpoint, log = board(2, None)
    endpoint.link_up(0, 1024, NONCE)
    hello = parse(endpoint.next_pdu(0))
    assert hello.mac == b"" and hello.fields[0] == HELLO
    for stream, state in ((0, states.GREETING), (STREAM, states.READY)):
        endpoint.receive(splice(record(WELCOME, 0x10, 0, 0, 3, 32, NONCE), stream), 10)
        assert endpoint.state == state
    assert log.oldest() == 3 and endpoint.counters == {"other_stream": 1}
    log.append(BLOB, 1, None, b"")
    packets = [parse(e2e) for e2e in packets_of(endpoint, 10)]
    assert {pdu.stream for pdu in packets} == {STREAM}  # nothing else says which stream it is
    endpoint.receive(splice(record(NEED, 1), 0), 2000)
    assert parse(endpoint.next_pdu(2000)).type == HELLO


def test_an_alias_is_used_as_told():
    endpoint, _ = board(1)
    endpoint.link_up(0, 1024, NONCE)
    endpoint.next_pdu(0)
    endpoint.receive(welcome(alias=9), 10)
    assert opened(endpoint.next_pdu(10))[1] == 9


def test_events_wait_in_bounded_number():
    endpoint, _ = ready()
    for n in range(100):
        endpoint.receive(down(CMD, n, [], "x", None), 100)
    assert len(events_of(endpoint)) == 16
    assert endpoint.counters == {"events_dropped": 84}
