"""A line on which frames, text and damage mix: whole and byte by byte, bounded, found again after noise."""

from binascii import hexlify, unhexlify

from meuse_protocol.framing import DAMAGE, FRAME, TEXT, Deframer, frame
from meuse_protocol.messages import BLOB, pdu
from vector_lines import Dice, lines

PING = b"\x92\x12\x00"


def received(deframer, data, step):
    items = []
    for i in range(0, len(data), step):
        deframer.feed(data[i : i + step])
        while True:
            item = deframer.next()
            if item is None:
                break
            items.append(item)
    return items


def shown(item):
    if item[0] == FRAME:
        return [FRAME, hexlify(item[1]).decode()]
    return [item[0], item[1] if item[0] == DAMAGE else item[1].decode()]


def test_lines_whole_and_in_pieces():
    for vector in lines("lines.jsonl"):
        data = unhexlify(vector["line"])
        for step in (1, 2, 3, 7, len(data) or 1):
            items = received(Deframer(64), data, step)
            assert [shown(item) for item in items] == vector["items"], (vector["name"], step)


def test_vectors_with_garbage_and_text_between_whole_and_byte_by_byte():
    dice = Dice(1)
    for step in (1, 1 << 20):
        deframer = Deframer(1100)
        frames = 0
        for vector in lines("pdus.jsonl"):
            noise = dice.bytes(dice.below(40)) + (b"", b"\0", b"boot 3\r\n\0", b"\r\0")[dice.below(4)]
            data = noise + b"\0" + unhexlify(vector["wire"])
            items = received(deframer, data, step)
            assert items[-1] == (FRAME, unhexlify(vector["e2e"])), vector["name"]
            assert not deframer.pending
            frames += 1
        assert deframer.frames == frames and deframer.damaged > 10


def test_noise_makes_no_frames_and_takes_no_memory():
    dice = Dice(2)
    deframer = Deframer(256)
    for _ in range(5000):  # a megabyte
        for item in received(deframer, dice.bytes(200), 200):
            assert item[0] != FRAME
            assert len(item[-1]) <= 256 + 4 + 2
        assert len(deframer.pending) <= 256 + 4 + 2
    assert deframer.frames == 0
    assert received(deframer, b"\0" + frame(PING), 1)[-1] == (FRAME, PING)


def test_a_frame_that_never_ends_is_dropped_up_to_the_next_zero():
    deframer = Deframer(100)
    for _ in range(50):
        assert received(deframer, b"\x99" * 100, 100) == []
    assert len(deframer.pending) <= 106
    kind, reason, raw = received(deframer, b"\0", 1)[0]
    assert (kind, reason) == (DAMAGE, "too long") and len(raw) <= 106
    assert received(deframer, frame(PING), 1) == [(FRAME, PING)]


def test_unread_items_wait_for_next():
    deframer = Deframer(64)
    deframer.feed(frame(PING) + b"\0one\r")
    deframer.feed(frame(PING))
    assert deframer.next() == (FRAME, PING)
    assert deframer.next() == (TEXT, b"one")
    assert deframer.next() == (FRAME, PING)
    assert deframer.next() is None and deframer.next() is None
    assert (deframer.frames, deframer.lines, deframer.damaged) == (2, 1, 0)


def test_enter_alone_is_seen_when_the_line_is_silent():
    deframer = Deframer(64)
    assert received(deframer, frame(PING) + b"\r", 1) == [(FRAME, PING)]
    assert deframer.idle() == (TEXT, b"")
    assert deframer.idle() is None
    # The LF of a slow CRLF is not a second Enter.
    assert received(deframer, b"\n", 1) == [] and deframer.idle() is None
    # Any other byte may be the beginning of a frame, and a silence says nothing about it.
    assert received(deframer, b"h", 1) == [] and deframer.idle() is None
    assert received(deframer, b"elp\r", 1) == [(TEXT, b"help")]


def test_what_is_being_typed_can_be_echoed():
    deframer = Deframer(64)
    received(deframer, b"he", 1)
    assert deframer.in_text and bytes(deframer.pending) == b"he"
    received(deframer, b"\r" + frame(PING)[:4], 1)
    assert not deframer.in_text


def test_a_line_without_text_calls_everything_else_damage():
    deframer = Deframer(64, text=False)
    items = received(deframer, b"hello\r\n\0" + frame(PING), 1)
    assert [item[0] for item in items] == [DAMAGE, FRAME]
    assert deframer.idle() is None


def test_pdus_around_a_boards_limit():
    deframer = Deframer(1024)
    for zeros in (True, False):  # no zero at all: the most bytes COBS can add
        for size in (1023, 1024, 1025):
            content = bytearray(size - 9)
            for i in range(size - 9):
                content[i] = i * 7 & 0xFF if zeros else i % 255 + 1
            e2e = pdu(BLOB, 1, 1, 1, None, content)
            assert len(e2e) == size
            items = received(deframer, frame(e2e), 100)
            assert len(items) == 1
            assert items[0] == (FRAME, e2e) if size <= 1024 else items[0][:2] == (DAMAGE, "too long")


def damaged(kind, dice):
    """How many of eight frames are lost by one event of this kind on the line."""
    frames = [frame(pdu(BLOB, 0, n + 1, 1, None, dice.bytes(45))) for n in range(8)]
    data = bytearray(b"\0" + b"".join(frames))
    at = len(frames[0]) + 1 + dice.below(len(data) - len(frames[0]) - 2 * len(frames[1]) - 1)
    if kind == "flip":
        data[at] ^= 1 << dice.below(8)
    elif kind == "deleted":
        data[at : at + 1] = b""
    elif kind == "inserted":
        data[at:at] = dice.bytes(1)
    else:
        data[at : at + 8] = dice.bytes(8)
    deframer = Deframer(1100)
    found = [item for item in received(deframer, bytes(data), len(data)) if item[0] == FRAME]
    return 8 - len(found)


def test_one_damage_costs_about_one_frame_and_never_more_than_two():
    dice = Dice(5)
    for kind in ("flip", "deleted", "inserted", "burst"):
        lost = [damaged(kind, dice) for _ in range(300)]
        assert max(lost) <= 2 and sum(lost) <= 300 * 1.2, (kind, sum(lost))


def test_lines_of_any_length_whole_and_in_pieces():
    for length in (0, 1, 63, 64, 65, 127, 128, 129, 199, 200):
        for end in (b"\n", b"\r", b"\0", b"\r\n"):
            line = b"".join([b"%x" % (i % 16) for i in range(length)])
            data = (line + end) * 3 + b"\0" + frame(PING)
            items = received(Deframer(256), data, len(data))
            assert [item[1] for item in items if item[0] == TEXT and item[1]] == [line] * 3 * (length > 0)
            assert items[-1] == (FRAME, PING)
            for step in (1, 50, 64, 65):
                assert received(Deframer(256), data, step) == items, (length, end, step)
    for length in (261, 262, 263, 500):  # what is too long is cut at the same byte
        data = b"x" * length + b"\n" + frame(PING)
        items = received(Deframer(256), data, len(data))
        for step in (1, 50, 64, 65):
            assert received(Deframer(256), data, step) == items, (length, step)
