"""A board on a wire with several: when it speaks, what it takes for lost, how it is found."""

from by_hand import NONCE, down, kinds, opened, seqs, welcome
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse_protocol import states
from meuse_protocol.messages import ACK, BLOB, CMD, DATA, HELLO, NEED, PING, POLL, TIMEQ, record, splice
from meuse_protocol.outbox import ALL, NOTHING
from meuse_protocol.polled import LATE_MS, PATIENCE_MS, PAUSES, UNPOLLED_MS, PolledEndpoint

SLOTS, SLOT_MS, RUN = 8, 93, 77
ALIAS = 5


def call(run=RUN, slots=SLOTS, slot_ms=SLOT_MS):
    return splice(record(NEED, 1, [slots, slot_ms, run]), 0)


def poll(cum=1, credit=4, stream=ALIAS):
    return down(POLL, cum, credit, stream=stream)


def up_board(records=0, nonce=NONCE):
    log = MemoryLog()
    fill(log, records)
    board = PolledEndpoint("stove-1", STREAM, PSK, log)
    board.link_up(0, 256, nonce)
    return board, log


def ready(records=0, now_ms=5000):
    """Called, welcomed, and its first question for the time is gone."""
    board, log = up_board(records)
    board.receive(call(), 1000)
    board.next_pdu(board.deadline())
    board.receive(welcome(alias=ALIAS), now_ms)
    board.receive(poll(credit=1), now_ms)
    assert kinds(packets_of(board, now_ms)) == [TIMEQ]
    return board, log


def test_silent_until_it_is_called_or_polled():
    board, _ = up_board(5)
    for now_ms in (0, 1000, 60000, 3600000):
        assert board.next_pdu(now_ms) is None
    assert board.deadline() is None


def test_one_hello_in_one_slot():
    board, _ = up_board(5)
    board.receive(call(), 1000)
    slot_ms = board.deadline()
    assert slot_ms in [1000 + SLOT_MS * n for n in range(SLOTS)]
    assert board.next_pdu(slot_ms - 1) is None
    assert kinds(packets_of(board, slot_ms)) == [HELLO]
    board.receive(call(), slot_ms + 500)  # a second has not passed: anybody can write a call
    assert board.deadline() is None


def test_a_slot_that_was_missed_is_left_alone():
    board, _ = up_board()
    board.receive(call(), 1000)
    assert board.next_pdu(board.deadline() + LATE_MS + 1) is None
    board.receive(call(), 3000)
    assert kinds(packets_of(board, board.deadline())) == [HELLO]


def test_a_slot_is_over_when_the_master_speaks_and_not_when_another_board_does():
    board, _ = up_board()
    board.receive(call(), 1000)
    other = splice(record(PING), STREAM + 1)
    board.receive(other, 1000)
    assert board.deadline() is not None
    board.receive(down(POLL, 1, 4, stream=3), 1000)
    assert board.deadline() is None


def test_boards_that_met_in_one_slot_part_soon():
    """The same slot at one call, others later: chance, and another one for each."""
    boards = [up_board(nonce=NONCE + 1000003 * n)[0] for n in range(12)]
    alone = set()
    for now_ms in range(2000, 40000, 2000):
        slots = []
        for board in boards:
            board.receive(call(), now_ms)
            slots.append(board.deadline())
            packets_of(board, board.deadline())
        alone.update([n for n in range(12) if slots.count(slots[n]) == 1])
    assert len(alone) == 12


def test_bad_calls_are_ignored():
    board, _ = up_board()
    for bad in ([], [1], [8, 93], [0, 93, 1], [65, 93, 1], [8, 0, 1], [8, 10001, 1], ["8", 93, 1]):
        board.receive(splice(record(NEED, 1, bad), 0), 1000)
    board.receive(splice(record(NEED, 1), 0), 1000)
    assert board.deadline() is None and board.state == states.GREETING


def test_a_turn_ends_with_its_credit():
    board, _ = ready(20)
    board.receive(poll(credit=3), 6000)
    sent = packets_of(board, 6000)
    assert [opened(e2e)[1] for e2e in sent] == [ALIAS] * 3
    assert seqs(sent) == [20, 1, 2]
    assert board.next_pdu(9000) is None


def test_nothing_to_say_is_said_in_one_packet():
    board, _ = ready()
    board.receive(poll(), 6000)
    assert kinds(packets_of(board, 6000)) == [PING]


def test_whoever_speaks_ends_the_turn():
    for heard in (splice(record(DATA, 9, 1), 7), down(CMD, 1, [1, 2], "x", None, stream=9), b"\x92\x12\x07"):
        board, _ = ready(20)
        board.receive(poll(), 6000)
        assert board.next_pdu(6000)
        board.receive(heard, 6001)
        assert board.next_pdu(6002) is None
        assert board.counters == {}


def test_what_the_next_poll_does_not_name_is_lost_and_nothing_sooner():
    board, log = ready(6)
    board.receive(poll(credit=4), 6000)
    assert seqs(packets_of(board, 6000)) == [6, 1, 2, 3]
    assert board.next_pdu(6000 + 60000) is None and board.state == states.READY
    board.receive(down(ACK, 2, 32, None, 1, 1, stream=ALIAS), 70000)  # 1 and 3
    board.receive(poll(cum=2, credit=16), 70000)
    assert seqs(packets_of(board, 70000)) == [2, 6, 4, 5]
    board.receive(poll(cum=7), 71000)
    assert kinds(packets_of(board, 71000)) == [PING]
    assert log.oldest() == 7


def test_poll_alone_teaches_like_an_ack():
    board, log = ready(3)
    board.receive(poll(), 6000)
    assert seqs(packets_of(board, 6000)) == [3, 1, 2]
    board.receive(poll(cum=4), 7000)
    assert log.oldest() == 4


def test_turns_without_an_answer_are_counted_for_who_chooses_among_links():
    board, _ = ready(3)
    assert board.silent_ms(60000) == 0
    for n in range(3):
        board.receive(poll(), 6000 + n)
        packets_of(board, 6000 + n)
    assert board.silent_ms(9002) == 3000
    board.receive(poll(cum=4), 10000)
    assert board.silent_ms(60000) == 0


def test_who_is_welcomed_keeps_silent_in_slots_until_the_master_is_another():
    board, _ = ready()
    board.receive(call(), 60000)
    assert board.state == states.READY and board.next_pdu(61000) is None
    board.receive(call(run=RUN + 1), 62000)
    assert kinds(packets_of(board, board.deadline())) == [HELLO]
    board.receive(welcome(alias=9), 64000)
    board.receive(call(run=RUN + 1), 66000)
    assert board.state == states.READY


def test_who_is_not_polled_for_long_believes_itself_forgotten():
    board, _ = ready(3)
    now_ms = 5000 + UNPOLLED_MS
    assert board.deadline() == now_ms
    assert board.next_pdu(now_ms) is None and board.state == states.QUIET
    board.receive(call(), now_ms + 5)
    assert kinds(packets_of(board, board.deadline())) == [HELLO]
    board.receive(welcome(alias=ALIAS), now_ms + 2000)
    board.receive(poll(), now_ms + 2000)
    assert kinds(packets_of(board, now_ms + 2000)) == [TIMEQ, BLOB, BLOB, BLOB]


def pauses(board, count, pause_ms, now_ms=5000):
    """So many turns in which it has little to say; -> the last one's time."""
    for _ in range(count):
        now_ms += pause_ms
        board.receive(poll(), now_ms)
        packets_of(board, now_ms)
    return now_ms


def test_beside_other_links_three_pauses_are_enough():
    board, _ = ready()
    board.carry(ALL, 5000)
    assert board.deadline() == 5000 + UNPOLLED_MS, "how often it will be polled is not known yet"
    now_ms = pauses(board, 3, 4000)
    assert board.deadline() == now_ms + PAUSES * 4000
    assert board.next_pdu(now_ms + PAUSES * 4000) is None and board.state == states.QUIET


def test_turns_in_haste_say_nothing_of_the_usual_pause():
    """A backlog is fetched without pauses; that nobody hurries afterwards is no silence."""
    board, _ = ready(200)
    board.carry(ALL, 5000)
    now_ms = 5000
    for cum in range(1, 60, 4):
        now_ms += 100
        board.receive(poll(cum=cum), now_ms)
        packets_of(board, now_ms)
    assert board.deadline() == now_ms + UNPOLLED_MS


def test_however_often_it_is_polled_two_seconds_are_no_silence():
    board, _ = ready()
    board.carry(ALL, 5000)
    assert board.deadline() and pauses(board, 9, 150) + PATIENCE_MS == board.deadline()


def test_alone_it_waits_however_often_it_was_polled():
    board, _ = ready()
    assert pauses(board, 3, 1000) + UNPOLLED_MS == board.deadline()


def test_quiet_ends_with_a_poll_too():
    board, _ = ready(3)
    board.next_pdu(5000 + UNPOLLED_MS)
    board.receive(poll(stream=STREAM), 5000 + UNPOLLED_MS + 10)
    assert kinds(packets_of(board, 5000 + UNPOLLED_MS + 10))[0] == HELLO


def test_polled_by_its_full_name_before_any_welcome():
    """Its WELCOME was lost: it says HELLO again, and readings all the same."""
    board, _ = up_board(2)
    board.receive(call(), 1000)
    packets_of(board, board.deadline())
    board.receive(poll(stream=STREAM), 4000)
    assert kinds(packets_of(board, 4000)) == [HELLO, BLOB, BLOB]


def test_a_forged_poll_gives_no_turn():
    board, _ = ready(3)
    board.receive(poll()[:-1] + b"\0", 6000)
    board.receive(splice(record(POLL, 1, 4), ALIAS), 6000)
    assert board.next_pdu(6000) is None
    assert board.counters == {"bad_mac": 2}


def test_a_link_that_carries_nothing_answers_that_it_is_there():
    board, _ = ready(5)
    board.carry(NOTHING, 6000)
    board.receive(poll(), 6000)
    assert kinds(packets_of(board, 6000)) == [PING]
