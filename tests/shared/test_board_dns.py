"""Questions and answers of RFC 1035, byte by byte."""

from meuse_board.links.dns import answer, question

QUESTION = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\5meuse\7example\0\0\1\0\1"


def reply(*records, questions=QUESTION[12:]):
    head = b"\x12\x34\x81\x80\0" + bytes((1 if questions else 0,)) + b"\0" + bytes((len(records),)) + b"\0\0\0\0"
    return head + questions + b"".join(records)


def record(kind, data, name=b"\xc0\x0c"):
    return name + bytes((0, kind)) + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data


def test_the_question():
    assert question("meuse.example", 0x1234) == QUESTION


def test_an_address():
    assert answer(reply(record(1, bytes((192, 168, 1, 7))))) == "192.168.1.7"


def test_an_address_behind_an_alias():
    alias = record(5, b"\4host\xc0\x12")
    assert answer(reply(alias, record(1, bytes((10, 0, 0, 1)), b"\4host\xc0\x12"))) == "10.0.0.1"


def test_a_multicast_answer_has_no_question():
    assert answer(reply(record(1, bytes((10, 0, 0, 2)), b"\5meuse\5local\0"), questions=b"")) == "10.0.0.2"


def test_no_address():
    assert answer(reply()) is None
    assert answer(reply(record(28, bytes(16)))) is None


def test_every_piece_of_an_answer_is_no_answer_and_no_error():
    whole = reply(record(1, bytes((192, 168, 1, 7))))
    for end in range(len(whole)):
        assert answer(whole[:end]) is None


def test_a_name_that_never_ends_is_no_answer():
    assert answer(b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0" + b"\x3f" * 300) is None
