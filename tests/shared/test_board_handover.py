"""One stream over several links: what each may carry, and what goes with the stream from one to the other."""

from by_hand import NONCE, down, kinds, opened, seqs, welcome
from memory_host import MemoryHost, MemoryJournal, exchange
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse_protocol import states
from meuse_protocol.messages import ACK, BLOB, HELLO, NEED, PING, record, splice
from meuse_protocol.outbox import ALARMS, ALL, NOTHING
from meuse_protocol.shared_endpoint import SharedEndpoint


def two(records):
    """(log, the endpoint that carries, the one that does not), both welcomed."""
    log = MemoryLog()
    fill(log, records)
    first = SharedEndpoint("stove-1", STREAM, PSK, log)
    second = SharedEndpoint("stove-1", STREAM, PSK, log)
    second.join(first)
    second.carry(NOTHING, 0)
    for endpoint in (first, second):
        endpoint.link_up(0, 1024, NONCE)
        packets_of(endpoint, 0)
        endpoint.receive(welcome(), 0)
    return log, first, second


def added(log, endpoints, urgent=False):
    seq = log.append(BLOB, 1, None, b"new")
    for endpoint in endpoints:
        endpoint.record_added(seq, urgent)
    return seq


def test_a_link_that_carries_nothing_says_hello_and_no_more():
    log = MemoryLog()
    fill(log, 20)
    idle = SharedEndpoint("stove-1", STREAM, PSK, log)
    idle.carry(NOTHING, 0)
    idle.link_up(0, 1024, NONCE)
    assert kinds(packets_of(idle, 0)) == [HELLO]
    idle.receive(welcome(), 10)
    assert idle.state == states.READY
    assert packets_of(idle, 10) == [] and idle.deadline() is None
    assert packets_of(idle, 10_000_000) == []


def test_alarms_alone_go_where_the_rest_waits():
    log, first, second = two(20)
    first.carry(NOTHING, 10)
    second.carry(ALARMS, 10)
    packets_of(second, 10)
    alarm = added(log, (first, second), True)
    added(log, (first, second))
    assert seqs(packets_of(second, 10)) == [alarm]
    second.receive(down(ACK, 1, 32, None, alarm - 1, 1), 20)
    assert seqs(packets_of(second, 20)) == []


def test_an_alarm_that_got_lost_goes_again_on_a_link_for_alarms():
    log, first, second = two(0)
    second.carry(ALARMS, 0)
    alarm = added(log, (first, second), True)
    assert seqs(packets_of(second, 0)) == [alarm]
    second.link_down(10)
    second.link_up(20, 1024, NONCE + 1)
    assert seqs(packets_of(second, 20)) == [alarm]


def test_what_was_acknowledged_on_one_link_is_not_sent_on_the_other():
    log, first, second = two(40)
    log.flush()
    packets_of(first, 10)  # 32 in flight
    first.receive(down(ACK, 5, 32, None, 4, 20), 20)  # 1-4 and 9-28
    first.link_down(30)
    first.carry(NOTHING, 30)
    second.carry(ALL, 30)
    again = seqs(packets_of(second, 30))
    assert again == [40] + list(range(5, 9)) + list(range(29, 40))  # the newest first


def test_an_answer_that_comes_late_on_the_old_link_still_counts():
    log, first, second = two(8)
    packets_of(first, 10)
    first.carry(NOTHING, 20)
    first.receive(down(ACK, 9, 32), 30)
    second.carry(ALL, 40)
    assert seqs(packets_of(second, 40)) == [] and log.oldest() == 9


def test_silence_is_two_timeouts_and_the_time_since_the_last_answer():
    log, first, _ = two(4)
    packets_of(first, 10)
    assert first.silent_ms(100_000) == 0  # no timeout yet
    first.next_pdu(first.deadline())
    assert first.silent_ms(100_000) == 0  # one may be bad luck
    packets_of(first, first.deadline())
    first.next_pdu(first.deadline())
    assert first.silent_ms(100_000) == 100_000
    first.receive(down(ACK, 3, 32), 99_000)
    assert first.silent_ms(100_000) == 1000


def test_a_host_that_was_put_back_gets_what_it_lost():
    """Its WELCOME knows less than its last ACK did."""
    log, first, second = two(10)
    log.flush()
    packets_of(first, 10)
    first.receive(down(ACK, 1, 32, None, 4, 6), 20)  # 5-10
    first.link_down(30)
    first.link_up(40, 1024, NONCE + 1)
    packets_of(first, 40)
    first.receive(welcome(cum=1, nonce=NONCE + 1), 50)
    first.receive(down(ACK, 1, 32, None, 4, 1), 50)  # only 5 is left
    first.link_down(60)
    first.carry(NOTHING, 60)
    second.carry(ALL, 60)
    assert sorted(seqs(packets_of(second, 60))) == [1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_a_record_that_comes_again_by_another_link_while_it_is_being_stored_is_acknowledged_there():
    journal = MemoryJournal({"stove-1": [PSK]})
    log = MemoryLog()
    first = SharedEndpoint("stove-1", STREAM, PSK, log)
    second = SharedEndpoint("stove-1", STREAM, PSK, log)
    second.join(first)
    hosts = [MemoryHost(journal), MemoryHost(journal)]
    for endpoint, host in ((first, hosts[0]), (second, hosts[1])):
        endpoint.link_up(0, 1024, NONCE)
        exchange(endpoint, host, 0)
    second.carry(NOTHING, 0)
    added(log, (first, second))
    for e2e in packets_of(first, 1000):
        hosts[0].receive(e2e, 1000)  # in the queue of the next commit
    first.link_down(1001)
    second.carry(ALL, 1001)
    for e2e in packets_of(second, 1001):
        hosts[1].receive(e2e, 1001)
    assert hosts[1].waiting == []
    hosts[0].commit(1002)
    assert hosts[1].endpoint.deadline(1002) == 1251
    for e2e in packets_of(hosts[1].endpoint, 1251):
        second.receive(e2e, 1251)
    assert log.oldest() == 2


def test_a_ping_on_request_goes_once_under_the_short_stream_and_only_to_a_host_that_knows_us():
    endpoint = SharedEndpoint("stove-1", STREAM, PSK, MemoryLog())
    endpoint.ping(0)
    assert endpoint.deadline() is None
    endpoint.link_up(0, 1024, NONCE)
    packets_of(endpoint, 0)
    endpoint.receive(welcome(), 0)
    packets_of(endpoint, 0)
    endpoint.ping(2000)
    assert endpoint.deadline() <= 2000
    assert [opened(e2e)[:2] for e2e in packets_of(endpoint, 2000)] == [[PING, 0]]
    assert PING not in kinds(packets_of(endpoint, 4000))
    endpoint.receive(splice(record(NEED, 1), 0), 5000)
    endpoint.ping(5000)
    assert kinds(packets_of(endpoint, 5000)) == [HELLO]


def test_an_answer_to_what_went_on_another_link_is_no_measure_of_this_one():
    """The host had it before it went here: the ACK comes at once, and says nothing of what went before it."""
    log, first, second = two(0)
    for _ in range(6):
        added(log, (first, second))
    packets_of(first, 10)
    first.link_down(20)
    first.carry(NOTHING, 20)
    second.carry(ALL, 20)
    assert seqs(packets_of(second, 20)) == [6, 1, 2, 3, 4, 5]
    second.receive(down(ACK, 1, 32, None, 2, 2), 21)  # 3 and 4, which the first link brought
    assert seqs(packets_of(second, 21)) == [], "6, 1 and 2 may still be on their way"
    added(log, (first, second))
    assert seqs(packets_of(second, 22)) == [7]


def test_a_round_trip_holds_for_the_next_connection_of_a_link():
    log, first, _ = two(0)
    added(log, (first,))
    assert seqs(packets_of(first, 1000)) == [1]
    first.receive(down(ACK, 2, 32), 6000)
    first.link_down(7000)
    first.link_up(7000, 1024, NONCE + 1)
    packets_of(first, 7000)
    first.receive(welcome(cum=2, nonce=NONCE + 1), 7010)
    added(log, (first,))
    packets_of(first, 7010)
    assert seqs(packets_of(first, 9010)) == []


def test_a_welcome_that_came_after_several_hellos_bounds_the_first_timeout():
    log = MemoryLog()
    slow = SharedEndpoint("stove-1", STREAM, PSK, log)
    slow.link_up(0, 1024, NONCE)
    for now_ms in (0, 1300, 4000):
        assert kinds(packets_of(slow, now_ms)) == [HELLO]
    slow.receive(welcome(), 7000)
    packets_of(slow, 7000)
    added(log, (slow,))
    packets_of(slow, 7000)
    assert seqs(packets_of(slow, 14000)) == []
    assert seqs(packets_of(slow, 14250)) == [1]
