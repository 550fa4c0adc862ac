"""The serial link never makes the board wait for its wire, also where write() waits as an ESP32's does."""

from meuse_board.links.uart import Link
from meuse_protocol.framing import FRAME, Deframer

RING_BYTES = 1024  # txbuf of hardware.py
LONG = b"x" * 90


class Esp32:
    """Simulated: a UART whose write() takes all, and waits until the rest fits its ring. Time is the test's."""

    def __init__(self, baud):
        self.now = 0
        self.baud = baud
        self.waiting = 0  # bytes in the ring
        self.left_ms = 0  # until when it was emptied
        self.blocked_ms = 0
        self.typed = b""
        self.frames = self.long_lines = 0
        self._heard = Deframer(1100)

    def serial(self, settings):
        return self

    def pollable(self, port):
        return None

    def read(self, n):
        data, self.typed = self.typed[:n], self.typed[n:]
        return data or None

    def write(self, data):
        self.waiting = max(0, self.waiting - (self.now - self.left_ms) * self.baud // 10_000)
        self.left_ms = self.now
        over = self.waiting + len(data) - RING_BYTES
        if over > 0:
            self.blocked_ms += over * 10_000 // self.baud + 1
        self.waiting += len(data)
        self._heard.feed(bytes(data))
        item = self._heard.next()
        while item:
            self.frames += item[0] == FRAME
            self.long_lines += LONG in item[1]
            item = self._heard.next()
        return len(data)


def steps(port, link, until_ms, packets):
    """As the runner does it, a step each millisecond; the uptime at which as many `packets` were sent, or None."""
    done_ms = None
    while port.now < until_ms:
        while link.receive(port.now) is not None:
            pass
        while packets and link.room(port.now):
            packets -= 1
            link.send(bytes([0x93, 1, 2]) + bytes([packets]) * 500, port.now)
        if not packets and done_ms is None:
            done_ms = port.now
        port.now += 1
    return done_ms


def started(baud):
    port = Esp32(baud)
    link = Link({"uart": 1, "baud": baud}, port, None)
    link.open(0)
    return port, link


def test_a_backlog_leaves_at_the_pace_of_the_wire_and_no_write_waits():
    for baud in (9600, 115200):
        port, link = started(baud)
        wire_ms = 32 * 510 * 10_000 // baud
        done_ms = steps(port, link, 2 * wire_ms, 32)
        assert port.blocked_ms == 0, port.blocked_ms
        assert done_ms is not None and done_ms < wire_ms * 11 // 10
        assert port.frames == 32


def test_a_long_answer_waits_for_the_wire_line_by_line():
    port, link = started(9600)
    link.console = lambda link, line, typing: iter([LONG.decode()] * 40)
    port.typed = b"config get\r"
    steps(port, link, 6000, 0)
    assert port.blocked_ms == 0, port.blocked_ms
    assert port.long_lines == 40
