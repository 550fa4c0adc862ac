"""The AT dialogue, fed whole, byte by byte, and with what a modem says on its own in between."""

from meuse_board.at import Dialogue


class Port:
    """What the modem says, so many bytes at a time; what it was told."""

    def __init__(self, size=256):
        self.size = size
        self.said = b""
        self.heard = b""

    def read(self, n):
        take = min(n, self.size)
        data, self.said = self.said[:take], self.said[take:]
        return data or None

    def write(self, data):
        self.heard += data[:7]  # never all of it
        return len(data[:7])


def lines(at, now=0):
    found = []
    for _ in range(2000):
        line = at.poll(now)
        if line is not None:
            found.append(line)
    return found


def talk(size, said, now=0, **asked):
    """-> the dialogue and what it passed on."""
    port = Port(size)
    at = Dialogue(port)
    at.ask(b"AT+COMMAND", 0, 5000, **asked)
    port.said = said
    return at, lines(at, now), port.heard


def test_a_result_ends_a_command_and_echo_is_no_line():
    for size in (1, 2, 256):
        at, found, heard = talk(size, b"AT+COMMAND\r\r\nOK\r\n")
        assert (at.code, found, heard) == (b"OK", [], b"AT+COMMAND\r")


def test_what_was_wanted_may_come_before_or_after_the_result():
    for size in (1, 256):
        for said in (b"\r\n+X: 0,5\r\n\r\nOK\r\n", b"\r\nOK\r\n\r\n+X: 0,5\r\n"):
            at, found, _ = talk(size, b'+QIURC: "recv",0\r\n' + said + b"+X: 0,9\r\n", then=b"+X: 0,")
            assert (at.code, at.answer) == (b"OK", b"5")
            assert found == [b'+QIURC: "recv",0', b"+X: 0,9"]


def test_an_error_ends_it_whatever_was_wanted():
    for said in (b"ERROR", b"+CME ERROR: 10", b"SEND FAIL"):
        at, _, _ = talk(1, b"\r\n" + said + b"\r\n", then=b"+X: ")
        assert at.code == said


def test_data_may_look_like_anything():
    data = b"\r\nOK\r\n> +X: 7\r\n\x00RDY\r\n" + bytes(range(256))
    for size in (1, 3, 256):
        said = b"\r\n+X: %d,9\r\n" % len(data) + data + b"\r\nOK\r\nRDY\r\n"
        at, found, _ = talk(size, said, then=b"+X: ", block=True)
        assert (at.code, at.data, found) == (b"OK", data, [b"RDY"])


def test_no_data_is_an_answer():
    at, _, _ = talk(256, b"\r\n+X: 0\r\n\r\nOK\r\n", then=b"+X: ", block=True)
    assert (at.code, at.data) == (b"OK", b"")


def test_a_payload_waits_for_the_prompt():
    payload = b">\r\nAT\r" + bytes(range(256))
    for size in (1, 256):
        port = Port(size)
        at = Dialogue(port)
        at.ask(b"AT+SEND=1", 0, 5000, payload=payload)
        lines(at)
        assert port.heard == b"AT+SEND=1\r" and at.busy
        port.said = b"\r\n> "
        lines(at)
        assert port.heard == b"AT+SEND=1\r" + payload
        port.said = b"\r\nSEND OK\r\n"
        lines(at)
        assert at.code == b"SEND OK"


def test_no_answer_is_one_too_and_what_comes_late_is_passed_on():
    at, _, _ = talk(256, b"", now=4999)
    assert at.busy
    lines(at, 5000)
    assert at.code == b""


def test_noise_is_bounded_and_counted():
    at, found, _ = talk(256, b"\xff" * 3000 + b"\r\n\r\nOK\r\n")
    assert found == [] and at.code == b"OK"
    assert at.noise > 2000


def test_a_modem_that_never_stops_does_not_hold_the_board():
    port = Port()
    at = Dialogue(port)
    port.said = b"\xff" * 8000
    assert at.poll(0) is None
    assert len(port.said) >= 8000 - 1300
