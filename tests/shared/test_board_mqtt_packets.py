"""MQTT 3.1.1, byte by byte: what a board sends, and how it reads what comes in whatever pieces."""

from meuse_board.links.mqtt_packets import (
    PING,
    Reader,
    connect,
    packet,
    puback,
    publish,
    published,
    subscribe,
)

BIG = b"\x30\x88\x27" + b"\0\x03a/b" + b"x" * 4995  # PUBLISH of 5,000 bytes
SMALL = b"\x32\x08\0\x03a/b\0\x07!"


def read(data, piece, longest=100, begin=9):
    reader = Reader(longest, begin)
    found = []
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        one = reader.next()
        while one:
            found.append(one)
            one = reader.next()
    return found


def test_what_a_board_sends():
    assert connect("b-1", 60, "t/up", "", "") == b"\x10\x17\0\4MQTT\4\x06\0\x3c\0\x03b-1\0\x04t/up\0\0"
    with_user = connect("b-1", 60, "t/up", "me", "pw")
    assert with_user[:10] == b"\x10\x1f\0\4MQTT\4\xc6" and with_user[-8:] == b"\0\x02me\0\x02pw"
    assert subscribe(1, "t/down") == b"\x82\x0b\0\x01\0\x06t/down\x01"
    assert publish("t/up", 258, b"data") == b"\x32\x0c\0\x04t/up\x01\x02data"
    assert puback(b"\x01\x02") == b"\x40\x02\x01\x02"


def test_lengths_of_one_and_two_bytes():
    assert packet(0x30, bytes(127))[:2] == b"\x30\x7f"
    assert packet(0x30, bytes(128))[:3] == b"\x30\x80\x01"
    assert packet(0x30, bytes(16383))[:3] == b"\x30\xff\x7f"


def test_pieces_of_any_size_give_the_same_packets():
    data = PING + SMALL + BIG + b"\x40\x02\0\x01" + packet(0x30, bytes(100)) + PING
    expected = [
        (0xC0, b"", True),
        (0x32, b"\0\x03a/b\0\x07!", True),
        (0x30, b"\0\x03a/bxxxx", False),
        (0x40, b"\0\x01", True),
        (0x30, bytes(100), True),
        (0xC0, b"", True),
    ]
    for piece in (1, 2, 3, 7, 512, len(data)):
        assert read(data, piece) == expected, piece


def test_of_a_packet_that_is_too_long_only_the_beginning_is_kept():
    reader = Reader(100, 9)
    reader.feed(b"\x30\xff\xff\xff\x7f\0\x03a/b")  # 268,435,455 bytes, the most there can be
    for _ in range(1000):
        reader.feed(b"x" * 512)
        assert reader.next() is None
    assert len(reader._body) == 9 and len(reader._data) == 0


def test_what_is_no_mqtt_is_said_so():
    for data in (b"\x30\xff\xff\xff\xff\x01", b"\x00\x00", b"\x0a"):
        for piece in (1, len(data)):
            try:
                read(data, piece)
                raise AssertionError(data)
            except OSError:
                pass


def test_number_and_payload_of_what_was_published():
    assert published(0x32, b"\0\x03a/b\0\x07!") == (b"\0\x07", 7)
    assert published(0x30, b"\0\x03a/b!") == (b"", 5)
