"""The host's end against packets made by hand: what it stores, acknowledges, refuses and counts."""

from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, events_of, packets_of
from meuse_protocol import host_endpoint, host_hello, host_states
from meuse_protocol.auth import DOWN, UP, direction_keys, mac
from meuse_protocol.errors import LocalError
from meuse_protocol.host_endpoint import Duplicate, GapFound, Hello, Record, Violation
from meuse_protocol.host_replies import COMMANDS_MAX
from meuse_protocol.host_stream import PENDING_MAX
from meuse_protocol.messages import (
    ACK,
    BLOB,
    CMD,
    DATA,
    ERR,
    GAP,
    HELLO,
    NEED,
    PING,
    RELAYS,
    TIME,
    TIMEQ,
    WELCOME,
    parse,
    record,
    splice,
)

OLD_PSK = bytes(reversed(range(32)))
UTC = 1800000000000
FAR = 0x80000002


def up(kind, *body, stream=STREAM, own=STREAM, psk=PSK):
    """A packet of a board; own: its full id, whatever stands on the wire."""
    r = record(kind, *body)
    if psk is None:
        return splice(r, stream)
    return splice(r, stream) + mac(direction_keys(psk, own)[0], UP, own, r, 8)


def hello(oldest=1, next_seq=1, name="stove-1", nonce=7, version=0x10, mtu=1024, **options):
    return up(HELLO, version, 0, oldest, next_seq, mtu, 32, name, [], nonce, **options)


def blob(seq, text=b"x", **options):
    return up(BLOB, seq, 1, None, text, **options)


def opened(e2e, psk=PSK):
    """[type, stream, body...] of a packet of the host, its MAC verified; unsigned: nothing left."""
    pdu = parse(e2e, 8 if psk else 0)
    if psk:
        assert pdu.mac == mac(direction_keys(psk, STREAM)[1], DOWN, STREAM, pdu.record, 8)
    return pdu.fields


def answers(host, now_ms=0, psk=PSK):
    return [opened(e2e, psk) for e2e in packets_of(host.endpoint, now_ms)]


def new_host(keys=(PSK,), trusted=False, **options):
    return MemoryHost(MemoryJournal({"stove-1": list(keys), "other": [OLD_PSK]}), trusted, **options)


def greeted(**options):
    host = new_host(**options)
    host.receive(hello(), 0)
    packets_of(host.endpoint, 0)
    host.seen = []
    return host


def test_a_verified_hello_binds_the_stream_and_is_welcomed():
    host = new_host()
    host.receive(hello(oldest=1, next_seq=9, nonce=77), 0)
    assert answers(host) == [[WELCOME, 0, 0x10, 0, 0, 1, 32, 77]]
    (event,) = host.seen
    assert isinstance(event, Hello) and event.new and event.state.device == "stove-1"
    assert event[2:] == (0x10, 1, 9, 1024, 32, [])
    assert host.endpoint.state == host_states.BOUND
    host.receive(hello(next_seq=9, nonce=77), 10)  # a repetition is welcomed, not told
    assert len(answers(host)) == 1 and len(host.seen) == 1


def test_data_of_a_stranger_is_neither_stored_nor_acknowledged():
    host = new_host()
    for now in range(0, 3000, 100):
        host.receive(blob(1), now)
        host.receive(blob(1, stream=0), now)
        host.receive(blob(1, stream=9), now)
    host.commit(3000)
    assert host.journal.records == {} and host.seen == []
    assert host.endpoint.counters["unbound"] == 90
    host = new_host()
    asked = []
    for now in range(0, 3000, 100):
        host.receive(blob(1), now)
        asked += answers(host, now, None)
    assert asked == [[NEED, STREAM, 1, None]] * 3


def test_nothing_is_acknowledged_before_it_is_stored():
    host = greeted()
    host.receive(blob(1, stream=0), 10)
    host.receive(blob(2, stream=0), 10)
    assert answers(host, 10000) == []
    host.commit(20)
    assert answers(host, 20) == [[ACK, 0, 3, 32, None]]
    assert sorted(host.journal.records) == [(STREAM, 1), (STREAM, 2)]


def test_every_second_record_or_after_a_quarter_of_a_second():
    host = greeted()
    for seq in range(1, 6):
        host.receive(blob(seq), seq * 10)
        host.commit(seq * 10)
        if seq % 2 == 0:
            assert answers(host, seq * 10) == [[ACK, 0, seq + 1, 32, None]]
        assert answers(host, seq * 10) == []
    assert host.endpoint.deadline(50) == 300
    assert answers(host, 299) == []
    assert answers(host, 300) == [[ACK, 0, 6, 32, None]]
    assert host.endpoint.deadline(300) is None


def test_at_once_on_a_hole_a_duplicate_and_a_ping():
    host = greeted()
    host.receive(blob(1), 0)
    host.commit(0)
    assert answers(host, 0) == []
    host.receive(blob(5), 10)
    host.commit(10)
    assert answers(host, 10) == [[ACK, 0, 2, 32, None, 3, 1]]
    host.receive(blob(5), 20)
    assert answers(host, 20) == [[ACK, 0, 2, 32, None, 3, 1]]
    host.receive(up(PING), 30)
    assert answers(host, 30) == [[ACK, 0, 2, 32, None, 3, 1]]
    host.receive(up(PING), 40)
    assert answers(host, 40) == []
    assert host.endpoint.counters == {"duplicate": 1, "ping_limited": 1}


def test_a_duplicate_is_acknowledged_with_what_came_before_it_and_is_being_stored():
    """An ACK in between would prove to the board that what it sent before was lost."""
    host = greeted()
    host.receive(blob(1), 0)
    host.commit(0)
    packets_of(host.endpoint, 300)
    host.receive(blob(3), 1000)
    host.receive(blob(1), 1000)
    assert answers(host, 1000) == []
    host.commit(1004)
    assert [fields[0] for fields in answers(host, 1004)] == [ACK]
    host.receive(blob(4), 2000)
    host.receive(blob(1), 2000)
    assert answers(host, 2249) == [] and len(answers(host, 2250)) == 1, "however long that takes"


def test_a_record_that_comes_again_before_it_is_stored_is_one_record():
    host = greeted()
    for now in (10, 20, 30):
        host.receive(blob(1), now)
    host.commit(40)
    assert answers(host, 40) == [[ACK, 0, 2, 32, None]]
    assert host.endpoint.counters == {"duplicate": 2}


def test_what_could_not_be_stored_is_new_when_it_comes_again():
    host = greeted()
    host.receive(blob(1), 10)
    host.waiting = []
    host.endpoint.dropped(STREAM, [1])
    host.receive(blob(1), 20)
    host.commit(20)
    assert (STREAM, 1) in host.journal.records


def test_the_first_bytes_stay_and_a_conflict_is_told():
    host = greeted()
    host.receive(blob(1, b"first"), 0)
    host.commit(0)
    packets_of(host.endpoint, 5000)
    host.receive(blob(1, b"second"), 5000)
    assert answers(host, 5000) == [
        [ACK, 0, 2, 32, None],
        [ERR, 0, 5, "conflict", 1],
    ]
    assert host.journal.records[STREAM, 1] == record(BLOB, 1, 1, None, b"first")
    host.receive(blob(2, b"first"), 9000)
    host.receive(blob(2, b"second"), 9000)
    assert Violation("conflict", "stream %d seq 2" % STREAM) in host.seen
    assert host.endpoint.counters["conflict"] == 2


def test_unknown_records_are_stored_as_they_are():
    host = greeted()
    for kind in range(1, 16):
        host.receive(up(kind, kind, None, "whatever", 1.5), 10)
    host.commit(10)
    assert len(host.journal.records) == 15
    assert host.endpoint.counters == {"gap_invalid": 1}


def test_a_gap_is_believed_below_its_own_record_only():
    host = greeted()
    host.receive(up(GAP, 9, 3, 8, 2), 0)
    assert [event[1:] for event in host.waiting[1:]] == [(3, 8, 2, 9)]
    host.receive(blob(4), 0)
    host.commit(0)
    state = host.journal.stream(STREAM)
    assert state.gapped.ranges() == [(3, 3), (5, 8)]
    assert state.received.ranges() == [(4, 4), (9, 9)]
    assert answers(host, 0) == [[ACK, 0, 1, 32, None, 2, 7]]
    host.receive(blob(5), 10)  # late after all
    host.commit(10)
    assert state.gapped.ranges() == [(3, 3), (6, 8)]
    for body in ((20, 5, 20, 1), (21, 0, 3, 1), (22, 9, 3, 1), (23, "a", 3, 1), (24,)):
        host.receive(up(GAP, *body), 20)
    host.commit(20)
    assert host.endpoint.counters == {"gap_invalid": 5}
    assert state.received.contains(24)


def test_what_the_board_no_longer_has_is_a_gap_of_the_host():
    host = new_host()
    host.receive(hello(1, 30), 0)
    for seq in (1, 2, 6):
        host.receive(blob(seq), 0)
    host.commit(0)
    host.receive(blob(8), 1)  # on its way into storage
    host.receive(hello(11, 40, nonce=8), 2)
    found = [event[1:] for event in host.waiting if isinstance(event, GapFound)]
    assert found == [(3, 5, 6, 0), (7, 7, 6, 0), (9, 10, 6, 0)]
    host.commit(3)
    assert host.journal.stream(STREAM).cum == 11
    assert answers(host, 3)[-1] == [ACK, 0, 11, 32, None]


def test_an_old_hello_changes_nothing():
    host = greeted()
    for seq in range(1, 6):
        host.receive(blob(seq), 0)
    host.commit(0)
    packets_of(host.endpoint, 0)
    host.receive(hello(1, 3, nonce=99), 5000)
    state = host.journal.stream(STREAM)
    assert state.next_seq == 6 and state.cum == 6
    assert answers(host, 5000) == [[ERR, 0, 5, "next 3, known 6", None]]
    assert host.endpoint.counters == {"hello_stale": 1}


def test_who_is_refused_and_what_is_said():
    cases = (
        (hello(name="nobody"), "unknown_device"),
        (hello(psk=OLD_PSK), "bad_hello"),
        (hello(psk=None), "bad_hello"),
        (hello()[:-1] + b"?", "bad_hello"),
    )
    for e2e, counter in cases:
        host = new_host()
        host.receive(e2e, 0)
        assert answers(host, 0, None) == [[ERR, 0, 6, counter, None]]
        assert host.endpoint.counters[counter] == 1
        assert host.journal.owners == {}
        assert host.endpoint.state == host_states.OPEN
        assert len(host.seen) == 1 and host.seen[0].counter == counter


def test_a_strangers_name_is_shown_harmlessly():
    host = new_host()
    host.receive(hello(name="\x1b[2J\r\n" + "x" * 200 + "\u00e9"), 0)
    (event,) = host.seen
    assert event == Violation("unknown_device", "?[2J??" + "x" * 26)


def test_a_stream_belongs_to_the_device_that_brought_it():
    host = greeted()
    host.receive(hello(name="other", psk=OLD_PSK), 0)
    assert host.endpoint.counters == {"stream_of_another": 1}
    assert host.journal.owners == {STREAM: "stove-1"}


def test_keyless_devices_only_where_trusted_and_never_far_ahead():
    host = new_host(keys=())
    host.receive(hello(psk=None), 0)
    assert host.endpoint.counters == {"untrusted": 1} and host.journal.owners == {}
    host = new_host(keys=(), trusted=True)
    host.receive(hello(), 0)  # it has a key after all
    assert host.endpoint.counters == {"untrusted": 1}
    host.receive(hello(next_seq=100000, psk=None), 2000)
    for seq in (1, 100000, 165536, 165538):
        host.receive(blob(seq, psk=None), 2000)
    host.commit(2000)
    assert sorted(host.journal.records) == [(STREAM, 1), (STREAM, 100000)]
    assert host.endpoint.counters["seq_far"] == 2
    host.receive(blob(65538, psk=None), 3000)
    host.commit(3000)
    assert (STREAM, 65538) in host.journal.records


def test_with_a_key_any_seq_is_taken():
    host = greeted()
    host.receive(blob(0xFFFFFFFF), 0)
    host.receive(blob(1), 0)
    host.commit(0)
    assert answers(host, 0) == [[ACK, 0, 2, 32, None, 0xFFFFFFFD, 1]]


def test_the_previous_key_still_opens_and_answers_come_under_it():
    host = new_host(keys=(PSK, OLD_PSK))
    host.receive(hello(psk=OLD_PSK), 0)
    assert answers(host, 0, OLD_PSK)[0][0] == WELCOME
    host.receive(blob(1, psk=OLD_PSK), 10)
    host.receive(blob(2), 10)  # the board has the new key now
    host.commit(10)
    assert answers(host, 10)[0][:3] == [ACK, 0, 3]
    assert host.endpoint.counters == {}


def test_a_revoked_key_opens_nothing():
    host = new_host(keys=(OLD_PSK,))
    host.receive(hello(psk=OLD_PSK), 0)
    host.journal.stream(STREAM).set_keys([PSK])
    host.receive(blob(1, psk=OLD_PSK), 10)
    host.commit(10)
    assert host.journal.records == {} and host.endpoint.counters == {"bad_mac": 1}


def test_a_flood_of_forgeries_mutes_the_link_for_ten_seconds():
    host = greeted()
    for _ in range(12):
        host.receive(blob(1, psk=OLD_PSK), 1000)
    assert host.endpoint.state == host_states.MUTE
    assert host.endpoint.counters == {"bad_mac": 11, "muted": 1}
    host.receive(blob(1), 10999)
    assert host.waiting == []
    host.receive(blob(1), 11000)
    assert len(host.waiting) == 1
    assert [event.counter for event in host.seen] == ["flood"]


def test_damage_is_answered_once_a_second():
    cases = (
        (b"", 2, "malformed"),
        (b"\x00", 2, "malformed"),
        (b"\x93\x01\x00\x00", 2, "malformed"),
        (b"\x93\x81\x00\x00", 2, "malformed"),
        (b"\x93\x01\x81\x00", 2, "malformed"),
        (splice(record(HELLO, *([[[[[1]]]]] * 9)), STREAM), 3, "limit"),
        (hello(oldest=2), 4, "content"),
        (hello(stream=0), 4, "content"),
        (up(HELLO, 1, 2), 4, "content"),
    )
    for e2e, code, counter in cases:
        host = new_host()
        for _ in range(3):
            host.receive(e2e, 0)
        assert [answer[2] for answer in answers(host, 0, None)] == [code], e2e
        assert host.endpoint.counters == {counter: 3}


def test_a_record_that_breaks_the_limits_is_named():
    host = greeted()
    deep = up(DATA, 1, [[[[[1]]]]])
    host.receive(deep, 0)
    (error,) = answers(host, 0)
    assert error[:3] == [ERR, 0, 3] and error[4] == 1
    long = splice(b"\x94\x01\x01\xdd\x7f\xff\xff\xff", STREAM)
    r = b"\x94\x01\x01\xdd\x7f\xff\xff\xff"
    host.receive(long + mac(direction_keys(PSK, STREAM)[0], UP, STREAM, r, 8), 2000)
    (error,) = answers(host, 2000)
    assert error[:3] == [ERR, 0, 3] and error[4] == 1
    assert host.waiting == [] and host.endpoint.counters == {"limit": 2}


def test_an_unspoken_version_is_refused_with_the_range():
    host = new_host()
    host.receive(hello(version=0x0F), 0)
    assert answers(host, 0)[0][2:] == [1, "1.0..1.0", None]
    assert host.journal.owners == {} and host.endpoint.counters == {"version": 1}
    host.receive(hello(version=0x23), 2000)  # it knows more: it may still speak ours
    assert answers(host, 2000)[0][:3] == [WELCOME, 0, 0x10]


def test_time_is_told_with_how_long_it_was_held():
    host = greeted()
    host.receive(up(TIMEQ, 42, stream=0), 100, UTC)
    assert answers(host, 130) == [[TIME, 0, 42, UTC, 30]]
    host.receive(up(TIMEQ, 43, stream=0), 200)
    assert answers(host, 200) == [] and host.endpoint.counters == {"time_unknown": 1}


def test_window_zero_and_back_is_told_at_once():
    host = greeted()
    host.endpoint.set_window(0, 10)
    assert answers(host, 10) == [[ACK, 0, 1, 0, None]]
    host.endpoint.set_window(0, 20)
    assert answers(host, 20) == []
    host.endpoint.set_window(16, 30)
    assert answers(host, 30) == [[ACK, 0, 1, 16, None]]


def test_an_ack_carries_sixteen_ranges_or_what_the_mtu_takes():
    host = new_host()
    host.receive(hello(1, 1, mtu=40), 0)
    for seq in range(2, 82, 2):
        host.receive(blob(seq), 0)
    host.commit(0)
    packets = packets_of(host.endpoint, 0)
    assert max([len(e2e) for e2e in packets]) <= 40
    host.receive(hello(1, 82, mtu=1024, nonce=8), 10)
    ack = answers(host, 10)[-1]
    assert ack == [ACK, 0, 1, 32, None] + [1, 1] * 16


def test_needs_errors_and_commands_of_the_program():
    host = greeted()
    endpoint = host.endpoint
    endpoint.need(STREAM, 0, [3], 0)
    endpoint.need(STREAM, 0, [3], 0)
    endpoint.need(STREAM, 3, None, 0)
    endpoint.undecodable(STREAM, 3, 0)
    endpoint.undecodable(STREAM, 3, 5000)
    endpoint.command(STREAM, 1, [2, 9000], "led", True)
    assert answers(host, 0) == [
        [NEED, 0, 0, [3]],
        [NEED, 0, 3, None],
        [ERR, 0, 4, "sid 3", None],
        [CMD, 0, 1, [2, 9000], "led", True],
    ]
    for call in (endpoint.need, endpoint.undecodable, endpoint.conflict):
        call(*([STREAM + 5, 1] + ([None] if call == endpoint.need else []) + [0]))
    endpoint.stored(STREAM + 5, [1], 0)
    endpoint.dropped(STREAM + 5, [1])
    endpoint.gap_stored(STREAM + 5, 1, 2, 0)
    endpoint.command(STREAM + 5, 1, [], "x", None)


def test_what_hosts_say_and_what_nobody_knows_is_counted():
    host = greeted()
    host.receive(up(ACK, 1, 2), 0)
    host.receive(up(77, 1), 0)
    host.receive(up(0, 1), 0)
    assert host.endpoint.counters == {"unexpected": 1, "unknown_control": 2}
    assert answers(host, 0) == []


def test_everything_a_stranger_can_fill_is_bounded():
    host = greeted()
    for seq in range(1, PENDING_MAX + 10):
        host.endpoint.receive(blob(seq), 0)
        events_of(host.endpoint)
    assert host.endpoint.counters == {"pending_full": 9}
    before = host_endpoint.EVENTS_MAX
    host_endpoint.EVENTS_MAX = 10
    try:
        host = greeted()
        for seq in range(1, 20):
            host.endpoint.receive(blob(seq), 0)
    finally:
        host_endpoint.EVENTS_MAX = before
    assert host.endpoint.counters == {"overrun": 9}
    assert len(events_of(host.endpoint)) == 10


def test_what_waits_for_a_board_is_bounded():
    host = greeted()
    for n in list(range(COMMANDS_MAX)) * 2:
        host.endpoint.command(STREAM, n + 1, [1, 1], "op", None)
    try:
        host.endpoint.command(STREAM, 99, [1, 1], "op", None)
        assert False
    except LocalError:
        pass
    for sid in range(20):
        host.endpoint.need(STREAM, 0, [sid], 0)
    due = host.endpoint._replies.dues[STREAM]
    assert [items for _, items in due.needs] == [[sid] for sid in range(16, 20)]


def test_a_hello_above_many_holes_fills_no_more_than_there_is_room_for():
    host = new_host()
    host.receive(hello(next_seq=30001, nonce=1), 0)
    for seq in range(2, 1002, 2):
        host.endpoint.receive(blob(seq), 0)
    before = host_hello.EVENTS_MAX
    host_hello.EVENTS_MAX = 600
    try:
        host.endpoint.receive(hello(oldest=30000, next_seq=30001, nonce=2), 1)
        assert len(events_of(host.endpoint)) <= 600
        host.endpoint.receive(hello(oldest=30000, next_seq=30001, nonce=3), 2)
        assert len(events_of(host.endpoint)) > 400  # the rest
    finally:
        host_hello.EVENTS_MAX = before


def test_a_replayed_hello_under_the_key_of_before_changes_no_key():
    host = new_host(keys=(PSK, OLD_PSK))
    host.receive(hello(psk=OLD_PSK), 0)
    host.receive(blob(1, psk=OLD_PSK), 0)
    host.commit(0)
    packets_of(host.endpoint, 1000)
    host.receive(hello(next_seq=2, nonce=8), 2000)  # the board has the new key now
    assert answers(host, 2000)[0][0] == WELCOME
    host.receive(hello(psk=OLD_PSK), 4000)
    host.receive(blob(1, psk=OLD_PSK), 4000)
    host.endpoint.set_window(5, 4000)
    assert answers(host, 4000)  # opened() verifies them under the new key


def test_calling_asks_who_is_there_without_a_mac():
    host = new_host()
    host.endpoint.call(0)
    host.endpoint.call(10)
    assert answers(host, 10, None) == [[NEED, 0, 1, None]]


def test_a_stored_record_is_compared_not_stored_again():
    host = greeted()
    host.receive(blob(1), 0)
    host.commit(0)
    host.receive(blob(1), 10)
    (event,) = host.seen
    assert isinstance(event, Duplicate) and event.seq == 1
    assert event.record == record(BLOB, 1, 1, None, b"x")
    assert not isinstance(event, Record)


def test_after_a_restart_known_streams_go_on_without_a_hello():
    host = greeted()
    host.receive(blob(1), 0)
    host.commit(0)
    host.journal.restart()
    host = MemoryHost(host.journal)
    host.receive(blob(3), 0)
    host.commit(0)
    (ack,) = answers(host, 0)
    assert ack == [ACK, STREAM, 2, 32, None, 1, 1]
    host.receive(blob(2, stream=0), 10)
    assert answers(host, 10, None) == [[NEED, 0, 1, None]]


def relayed():
    """A host that a relay has greeted, and a second stream behind it."""
    journal = MemoryJournal({"stove-1": [PSK], "far-1": [OLD_PSK]})
    host = MemoryHost(journal)
    host.receive(up(HELLO, 0x10, RELAYS, 1, 1, 1024, 32, "stove-1", [], 7), 0)
    return host


def test_a_relay_is_welcomed_under_its_full_id_and_nothing_is_called_0():
    host = relayed()
    assert host.endpoint.several
    (welcome,) = answers(host)
    assert welcome[:2] == [WELCOME, STREAM] and welcome[4] == STREAM
    host.receive(up(PING, stream=0), 1000)
    assert host.endpoint.counters == {"unbound": 1}
    host.receive(blob(1), 2000)
    host.commit(2000)
    packets_of(host.endpoint, 2000)
    host.receive(up(PING), 3000)
    assert answers(host, 3000) == [[ACK, STREAM, 2, 32, None]]


def test_a_board_behind_a_relay_takes_nothing_from_the_relay():
    host = relayed()
    packets_of(host.endpoint, 0)
    host.receive(hello(name="far-1", stream=FAR, own=FAR, psk=OLD_PSK), 10)
    (e2e,) = packets_of(host.endpoint, 10)
    assert parse(e2e, 8).fields[:5] == [WELCOME, FAR, 0x10, 0, FAR]
    for seq in (1, 2):
        host.receive(blob(seq), 20)
        host.receive(blob(seq, stream=FAR, own=FAR, psk=OLD_PSK), 20)
    host.commit(20)
    acks = [parse(e2e, 8).fields[:3] for e2e in packets_of(host.endpoint, 20)]
    assert sorted(acks) == [[ACK, STREAM, 3], [ACK, FAR, 3]]
    assert host.endpoint.counters == {}


def test_who_is_refused_behind_a_relay_hears_it_under_its_own_stream():
    host = relayed()
    packets_of(host.endpoint, 0)
    host.receive(hello(name="nobody", stream=FAR, own=FAR), 10)
    (e2e,) = packets_of(host.endpoint, 10)
    assert parse(e2e).fields == [ERR, FAR, 6, "unknown_device", None]


def test_forgeries_behind_a_relay_silence_what_was_forged_and_nothing_else():
    host = relayed()
    host.receive(hello(name="far-1", stream=FAR, own=FAR, psk=OLD_PSK), 0)
    for _ in range(20):
        host.receive(blob(1, stream=FAR, own=FAR), 10)  # not its key
        host.receive(hello(name="far-1", stream=FAR + 1, own=FAR + 1), 10)
    assert host.endpoint.state == host_states.BOUND
    assert host.endpoint.counters["muted"] == 18
    host.receive(blob(1), 20)
    host.receive(blob(1, stream=FAR, own=FAR, psk=OLD_PSK), 20)
    host.commit(20)
    assert list(host.journal.records) == [(STREAM, 1)]
    host.receive(blob(1, stream=FAR, own=FAR, psk=OLD_PSK), 11_000)
    host.commit(11_000)
    assert list(host.journal.records) == [(STREAM, 1), (FAR, 1)]
    floods = [event for event in host.seen if isinstance(event, Violation) and event.counter == "flood"]
    assert len(floods) == 2


def test_behind_a_relay_nobody_is_trusted_and_no_relay_without_a_key():
    journal = MemoryJournal({"stove-1": [PSK], "cable-1": []})
    host = MemoryHost(journal, trusted=True)
    flagged = (HELLO, 0x10, RELAYS, 1, 1, 1024, 32)
    host.receive(up(*flagged, "cable-1", [], 7, stream=FAR, psk=None), 0)
    assert not host.endpoint.several
    host.receive(blob(1, stream=FAR, psk=None), 0)
    host.commit(0)
    host.receive(up(*flagged, "stove-1", [], 7), 10)
    assert host.endpoint.several
    host.receive(blob(2, stream=FAR, psk=None), 20)
    host.receive(hello(name="cable-1", nonce=8, stream=FAR + 1, psk=None), 20)
    host.commit(20)
    assert list(journal.records) == [(FAR, 1)] and host.endpoint.counters == {"untrusted": 2}


def test_a_wire_with_aliases_is_no_relay_whatever_a_hello_says():
    journal = MemoryJournal({"stove-1": [PSK]})
    host = MemoryHost(journal, boards=4)
    host.receive(up(HELLO, 0x10, RELAYS, 1, 1, 1024, 32, "stove-1", [], 7), 0)
    assert not host.endpoint.several
