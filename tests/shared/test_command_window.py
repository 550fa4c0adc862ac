"""No command runs twice: the board's window and the host's queue, alone and joined over a wire that misbehaves."""

from meuse_protocol.commands import (
    DONE,
    EXPIRED,
    INTERRUPTED,
    NEW,
    OLD,
    SEEN,
    STARTED,
    VALUE_BYTES,
    WINDOW,
    CommandWindow,
    is_late,
    mark,
)
from meuse_protocol.condition_text import condition_of, decimal, text_of
from meuse_protocol.conditions import holds, is_condition
from meuse_protocol.errors import LocalError
from meuse_protocol.host_commands import AGAIN_MAX_MS, AGAIN_MS, WAITING_MAX, CommandQueue
from meuse_protocol.msgpack import pack, unpack

STREAM = 0x80000001


def again(window):
    """As it is after a reboot."""
    return CommandWindow(STREAM, unpack(pack(window.saved())))


def test_an_id_is_new_once():
    window = CommandWindow(STREAM)
    on = mark("fan", ["on", 1])
    assert window.judge(1, on) == NEW and window.newest() == 0
    window.start(1, on)
    assert window.judge(1, on) == SEEN and window.code(1) == STARTED
    window.finish(1, DONE, 7)
    for seen in (window, again(window)):
        assert seen.judge(1, on) == SEEN and seen.code(1) == DONE and seen.value(1) == 7
        assert seen.having(STARTED) == []


def test_an_id_that_comes_after_a_higher_one_never_runs():
    window = CommandWindow(STREAM)
    window.start(5, 0)
    assert window.judge(4, 0) == OLD and window.judge(6, 0) == NEW
    assert again(window).judge(4, 0) == OLD


def test_an_id_that_was_another_command_never_runs():
    window = CommandWindow(STREAM)
    window.start(5, mark("fan", ["on", 1]))
    assert window.judge(5, mark("fan", ["on", 0])) == OLD
    assert window.judge(5, mark("pump", ["on", 1])) == OLD


def test_an_intent_without_a_result_is_known_after_a_reboot():
    window = CommandWindow(STREAM)
    window.start(1, 0)
    window.finish(1, DONE)
    window.start(2, 0)
    after = again(window)
    assert after.having(STARTED) == [2] and after.judge(2, 0) == SEEN
    after.finish(2, INTERRUPTED)
    assert again(after).code(2) == INTERRUPTED and again(after).having(STARTED) == []


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_old():
    window = CommandWindow(STREAM)
    for cid in range(1, 3 * WINDOW):
        window.start(cid, cid)
        window.finish(cid, DONE, "x" * cid)
        window = again(window)
    assert window.newest() == 3 * WINDOW - 1
    for cid in range(1, 2 * WINDOW):
        assert window.judge(cid, cid) == OLD
    for cid in range(2 * WINDOW, 3 * WINDOW):
        assert window.judge(cid, cid) == SEEN
    assert len(pack(window.saved())) < WINDOW * 20 + VALUE_BYTES, "long values are not kept"


def test_a_window_of_another_stream_or_of_garbage_is_empty():
    window = CommandWindow(STREAM)
    window.start(9, 0)
    assert CommandWindow(STREAM + 1, window.saved()).newest() == 0
    for garbage in ([], [STREAM], [STREAM, 3, []], None):
        assert CommandWindow(STREAM, garbage).newest() == 0


def test_a_deadline_is_of_one_boot():
    assert not is_late([3, 5000], 3, 5000)
    assert is_late([3, 5000], 3, 5001)
    assert is_late([3, 5000], 4, 10)
    for malformed in ([], [3], [3, None], ["3", 5000]):
        assert is_late(malformed, 3, 0)


def test_conditions_compare_scaled_integers():
    for value, exp10, condition, wanted in (
        (599, -1, ["t", "<", 60, 0], True),
        (600, -1, ["t", "<", 60, 0], False),
        (600, -1, ["t", "<=", 60, 0], True),
        (601, -1, ["t", ">", 60, 0], True),
        (6, 1, ["t", "==", 600, -1], True),
        (6, 1, ["t", ">=", 601, -1], False),
        (-5, 0, ["t", "<", -499, -2], True),
        (None, 0, ["t", "<", 1, 0], False),
        ([-2], 0, ["t", "<", 1, 0], False),
        (True, 0, ["t", ">", 0, 0], False),
    ):
        assert is_condition(condition) and holds(condition, value, exp10) == wanted, (value, condition)
    for malformed in (None, [], ["t", "!=", 1, 0], ["t", "<", "1", 0], [1, "<", 1, 0], ["t", "<", 1, 99]):
        assert not is_condition(malformed)


def test_a_queue_sends_one_command_until_it_is_settled():
    queue = CommandQueue()
    assert queue.next(0) is None and queue.deadline() is None
    queue.add(1, [1, 99], "fan", None)
    queue.add(2, [1, 99], "fan", None)
    assert queue.next(100)[0] == 1
    assert queue.next(100 + AGAIN_MS - 1) is None
    at = queue.deadline()
    assert at == 100 + AGAIN_MS and queue.next(at)[0] == 1
    for _ in range(20):
        before, at = at, queue.deadline()
        assert queue.next(at)[0] == 1 and at - before <= AGAIN_MAX_MS
    queue.present(at)
    assert queue.next(at)[0] == 1
    queue.settled(1)
    assert queue.next(at)[0] == 2 and queue.cids() == [2]
    queue.settled(7)
    assert queue.cids() == [2] and queue.next(at) is None


def test_a_queue_is_bounded_and_ids_rise():
    queue = CommandQueue()
    for cid in range(1, WAITING_MAX + 1):
        queue.add(cid, [1, 9], "x", None)
    for cid, other in ((WAITING_MAX + 1, queue), (3, None)):
        if other is None:
            other = CommandQueue()
            other.add(cid, [1, 9], "x", None)
        try:
            other.add(cid, [1, 9], "x", None)
        except LocalError:
            continue
        raise AssertionError("taken")


class Dice:
    def __init__(self, seed):
        self._state = seed

    def __call__(self, n):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % n


class Board:
    """Acts at once, and is cut off between intent, act and result as the dice say."""

    def __init__(self, dice):
        self.dice = dice
        self.flash = None
        self.boot = 0
        self.acts = {}
        self.results = []  # (cid, code), each reaches the host at last: a reliable record
        self.reboot()

    def reboot(self):
        self.boot += 1
        self.now = 0
        self.window = CommandWindow(STREAM, self.flash)
        for cid in self.window.having(STARTED):
            self.window.finish(cid, INTERRUPTED)
            self.results.append((cid, INTERRUPTED))
        self.flash = self.window.saved()

    def receive(self, cid, deadline, op, arg):
        marked = mark(op, arg)
        verdict = self.window.judge(cid, marked)
        if verdict == SEEN:
            if self.window.code(cid) != STARTED:
                self.results.append((cid, self.window.code(cid)))
            return
        if verdict == OLD:
            return
        self.window.start(cid, marked)
        if is_late(deadline, self.boot, self.now):
            self.window.finish(cid, EXPIRED)
            self.results.append((cid, EXPIRED))
            return
        cut = self.dice(12)
        if cut == 0:
            return self.reboot()
        self.flash = self.window.saved()
        if cut == 1:
            return self.reboot()
        self.acts[cid] = self.acts.get(cid, 0) + 1
        if cut == 2:
            return self.reboot()
        self.window.finish(cid, DONE)
        self.flash = self.window.saved()
        if cut == 3:
            return self.reboot()
        self.results.append((cid, DONE))


def play(seed):
    """Commands over a wire that loses, doubles, reorders, holds back and replays; -> (board, finals)."""
    dice = Dice(seed)
    board, queue = Board(dice), CommandQueue()
    wire, seen, finals, now = [], [], {}, 0
    for cid in range(1, 13):
        queue.add(cid, [board.boot, board.now + 20000], "fan", ["on", cid & 1])
        for _ in range(400):
            now += 250
            board.now += 250
            command = queue.next(now)
            if command:
                seen.append(command)
                wire += [command] * dice(3)
            if seen and not dice(4):
                wire.append(seen[dice(len(seen))])  # somebody recorded it
            while wire and dice(3):
                board.receive(*wire.pop(dice(len(wire))))
            for done, code in board.results:
                if done not in finals:
                    finals[done] = code
                queue.settled(done)
            board.results = []
            if not queue.cids():
                break
    for command in seen:  # everything that was ever sent, once more
        board.receive(*command)
    return board, finals


def test_no_id_acts_twice_whatever_the_wire_and_the_power_do():
    codes = {}
    for seed in range(1, 61):
        board, finals = play(seed)
        assert sorted(finals) == list(range(1, 13)), "each has a result"
        for cid in finals:
            code = finals[cid]
            codes[code] = codes.get(code, 0) + 1
            acts = board.acts.get(cid, 0)
            assert acts <= 1, "ran twice"
            assert acts == 1 or code != DONE, "said done, and never ran"
            assert acts == 0 or code != EXPIRED, "said expired, and ran"
    assert min(codes.get(code, 0) for code in (DONE, EXPIRED, INTERRUPTED)) > 10, codes


def test_conditions_as_people_write_them():
    for text, condition, shown in (
        ("flue_temp < 60", ["flue_temp", "<", 60, 0], "flue_temp < 60"),
        ("flue_temp<=60.50", ["flue_temp", "<=", 6050, -2], "flue_temp <= 60.50"),
        ("t > -0.5", ["t", ">", -5, -1], "t > -0.5"),
        ("t == .05", ["t", "==", 5, -2], "t == 0.05"),
        ("t >= +7", ["t", ">=", 7, 0], "t >= 7"),
    ):
        assert condition_of(text) == condition and text_of(condition) == shown
    for wrong in ("", "t", "t <", "< 5", "t < x", "t = 5", "a b < 5", "t < 1 2", "t < 1.", "t < 1e5", "t != 5"):
        try:
            condition_of(wrong)
        except LocalError:
            continue
        raise AssertionError(wrong)
    assert decimal(12, 2) == "1200" and decimal(-5, -3) == "-0.005" and decimal(1234, -2) == "12.34"
