"""The MQTT link on real MicroPython against a broker that these cases play, over real sockets; time is an argument."""

import gc
import os
import select
import socket

from meuse_board.links.mqtt import ANSWER_MS, FLIGHT, PING_MS, Link

PORT = int(os.getenv("MEUSE_PORT"))  # free, says who started this
DOWN = b"\0\x1bmeuse-link/default/b-1/down"
CONNACK, SUBACK, PINGRESP = b"\x20\x02\0\0", b"\x90\x03\0\x01\x01", b"\xd0\0"


def arrived(one, most_ms):
    """Waits for the kernel, whose clock goes on by itself (40 ms between two small pieces)."""
    poller = select.poll()
    poller.register(one, select.POLLIN)
    return poller.poll(most_ms)


class Air:
    """Hardware as far as a network link knows it."""

    def network(self, settings):
        return True

    def name_server(self):
        return None


class Scene:
    """A link and its broker; `now` goes on as the cases say."""

    def __init__(self):
        self.listening = socket.socket()
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(socket.getaddrinfo("127.0.0.1", PORT)[0][-1])
        self.listening.listen(1)
        self.listening.settimeout(5)
        settings = {"host": "127.0.0.1", "port": PORT, "device": "b-1", "max_pdu": 200}
        self.link = Link(settings, Air(), lambda: 7)
        self.now = 1000
        self.got = []

    def step(self, times=5):
        for _ in range(times):
            e2e = self.link.receive(self.now)
            if e2e:
                self.got.append(e2e)
            self.now += 1

    def accept(self):
        """A connection from the board -> its CONNECT."""
        self.step(60)
        self.peer = self.listening.accept()[0]
        self.peer.setblocking(False)
        return self.heard()

    def subscribed(self):
        self.accept()
        self.say(CONNACK)
        self.heard()
        self.say(SUBACK)
        assert self.link.up
        return self

    def say(self, data):
        self.peer.write(data)
        if self.link.pollable:
            arrived(self.link.pollable, 500)
        self.step()

    def heard(self):
        """All that the board says until it is silent for a moment."""
        self.step()
        data = b""
        while arrived(self.peer, 100):
            more = self.peer.read(20_000)
            if not more:
                break
            data += more
        return data

    def close(self):
        self.link.close(self.now)
        self.listening.close()


def scene(case):
    """Runs the case in a scene of its own."""

    def run():
        one = Scene()
        try:
            case(one)
        finally:
            one.close()

    return run


@scene
def test_it_is_up_after_the_suback_only(s):
    assert s.accept() == (
        b"\x10\x2c\0\4MQTT\4\x06\0\x5a\0\x03b-1\0\x19meuse-link/default/b-1/up\0\0"
    )
    assert not s.link.up
    s.say(CONNACK)
    assert s.heard() == b"\x82\x20\0\x01" + DOWN + b"\x01"
    assert not s.link.up
    s.say(SUBACK)
    assert s.link.up and s.link.problem is None and s.link.connects == 1


@scene
def test_eight_are_on_their_way_and_a_puback_makes_room(s):
    s.subscribed()
    for _ in range(FLIGHT):
        assert s.link.room(s.now)
        s.link.send(b"record", s.now)
    assert not s.link.room(s.now)
    heard = s.heard()
    numbers = [heard[at : at + 2] for at in range(29, len(heard), 37)]
    assert len(set(numbers)) == FLIGHT and b"\0\0" not in numbers
    s.say(b"\x40\x02\x77\x77")  # of nothing we know
    assert not s.link.room(s.now)
    s.say(b"\x40\x02" + numbers[3])
    assert s.link.room(s.now)
    s.link.send(b"record", s.now)
    assert s.heard()[29:31] not in numbers


@scene
def test_a_message_is_taken_and_with_qos_1_answered(s):
    s.subscribed()
    s.say(b"\x30\x20" + DOWN + b"abc")
    assert s.got == [b"abc"] and s.heard() == b""
    s.say(b"\x32\x22" + DOWN + b"\0\x09def" + b"\x3a\x22" + DOWN + b"\0\x0aghi")
    s.step()
    assert s.got[1:] == [b"def", b"ghi"] and s.heard() == b"\x40\x02\0\x09\x40\x02\0\x0a"


@scene
def test_a_message_that_is_too_long_takes_no_memory(s):
    s.subscribed()
    piece = memoryview(b"x" * 8000)
    gc.collect()
    before = gc.mem_alloc()
    most = 0
    s.peer.write(b"\x32\x9d\x8d\x06" + DOWN + b"\0\x09")  # and 99,966 bytes more
    sent = 31
    while sent < 99_997:
        s.say(piece[: 99_997 - sent])
        sent += len(piece)
        gc.collect()
        most = max(most, gc.mem_alloc() - before)
    assert s.heard() == b"\x40\x02\0\x09" and s.link.damaged == 1 and not s.got
    s.say(b"\x30\x20" + DOWN + b"abc")
    assert s.got == [b"abc"] and s.link.up
    assert most < 4000, most


@scene
def test_silence_is_broken_by_a_ping_and_a_broker_without_an_answer_is_left(s):
    s.subscribed()
    s.now += PING_MS
    assert s.heard() == b"\xc0\0"
    s.say(PINGRESP)
    s.now += PING_MS - 1000
    assert s.heard() == b"" and s.link.up
    s.now += 1000
    assert s.heard() == b"\xc0\0"
    s.now += ANSWER_MS
    s.step()
    assert not s.link.up and s.link.problem


@scene
def test_a_doubt_asks_the_broker_and_leaves_it_only_without_an_answer(s):
    s.subscribed()
    s.now += 5000
    s.link.doubt(s.now)
    s.step()
    s.say(PINGRESP)
    s.now += ANSWER_MS
    s.step()
    assert s.link.up
    s.link.doubt(s.now)
    s.now += ANSWER_MS
    s.step()
    assert not s.link.up


@scene
def test_pubacks_that_do_not_come_end_the_connection(s):
    s.subscribed()
    s.link.send(b"record", s.now)
    for _ in range(3):
        s.now += ANSWER_MS // 4
        s.say(PINGRESP)
        assert s.link.up
    s.now += ANSWER_MS // 4
    s.step()
    assert not s.link.up and s.link.due_ms > s.now


@scene
def test_a_broker_that_never_answers_connect_is_left(s):
    s.accept()
    s.now += ANSWER_MS
    s.step()
    assert not s.link.up and s.link.problem
    s.now += 60_000
    assert s.accept()[:1] == b"\x10", "and tried again"


@scene
def test_who_is_refused_says_so(s):
    s.accept()
    s.say(b"\x20\x02\0\x05")
    assert s.link.problem == "broker says: wrong user or password"
    s.now += 60_000
    s.accept()
    s.say(CONNACK)
    s.say(b"\x90\x03\0\x01\x80")
    assert s.link.problem == "broker says: not this topic" and not s.link.up


@scene
def test_garbage_ends_the_connection_and_nothing_else(s):
    for data in (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, b"\0\0\0", b"\x20\0", b"\x90\0\x40\0\x32\x01\xff"):
        s.accept()
        try:
            s.say(data)
            s.say(data)
        except OSError:
            pass  # it has hung up already
        assert not s.link.up
        s.now += 60_000
    assert s.accept()[:1] == b"\x10"
