"""A modem's script in virtual time, against a modem that says anything at any time."""

from meuse_board.modem import Modem, in_words

OK = b"\r\nOK\r\n"
RIGHT = (  # what begins a command, and the answer
    (b"AT+CPIN?", b"\r\n+CPIN: READY\r\n" + OK),
    (b"AT+CEREG?", b"\r\n+CEREG: 0,1\r\n" + OK),
    (b"AT+CSQ", b"\r\n+CSQ: 17,99\r\n" + OK),
    (b"AT+NETOPEN", OK + b"\r\n+NETOPEN: 0\r\n"),
    (b"AT+CIPOPEN", OK + b"\r\n+CIPOPEN: 0,0\r\n"),
    (b"AT+CIPCLOSE", OK + b"\r\n+CIPCLOSE: 0,0\r\n"),
    (b"AT+CIPSEND", b"\r\n> "),
    (b"frame", OK + b"\r\n+CIPSEND: 0,5,5\r\n"),
    (b"AT+CIPRXGET=2", b"\r\n+CIPRXGET: 2,0,3,0\r\nabc" + OK),
    (b"AT+CMGS", b"\r\n> "),
    (b"00AA", b"\r\n+CMGS: 7\r\n" + OK),
    (b"", OK),
)
SAYS = (
    b"\r\nOK\r\n",
    b"\r\nERROR\r\n",
    b"\r\n+CME ERROR: 10\r\n",
    b"\r\n+CPIN: READY\r\n",
    b"\r\n+CPIN: SIM PIN\r\n",
    b"\r\n+SPIC: 3,10\r\n",
    b"\r\n+SPIC: \r\n",
    b"\r\n+CEREG: 1\r\n",
    b"\r\n+CEREG: 0,1\r\n",
    b"\r\n+CEREG: \r\n",
    b"\r\n+CSQ: \xff\r\n",
    b"\r\n+NETOPEN: 0\r\n",
    b"\r\n+CIPOPEN: 0,0\r\n",
    b"\r\n+CIPOPEN: 0,0\r\n",
    b"\r\n+CIPCLOSE: 0,0\r\n",
    b"\r\n+CIPRXGET: 1,0\r\n",
    b"\r\n+CIPRXGET: 2,0,99999,1\r\nabc",
    b"\r\n+CIPRXGET: 2,0,3,0\r\nabc\r\nOK\r\n",
    b"\r\n+CIPSEND: 0,5,5\r\n",
    b"\r\n+CMT: ,22\r\n07917283010010F5\r\n",
    b"\r\n+CMGS: 7\r\n",
    b"\r\n> ",
    b"\r\nRDY\r\n",
    b"\xff\xfe\x00\r\n",
    b"\r\n+CME ERROR: \xff\r\n",
    bytes(range(256)),
)


class Anything:
    """The hardware, and the port with a modem that gives the right answer, or now and then any of SAYS."""

    def __init__(self, seed):
        self.state = seed
        self.pressed = 0
        self.heard = b""

    def random_u32(self):
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return self.state >> 8

    def serial(self, settings):
        return self

    def pollable(self, port):
        return None

    def output(self, number):
        return self.press

    def press(self, level):
        self.pressed += level

    def read(self, n):
        if self.random_u32() % 50 == 0:
            return SAYS[self.random_u32() % len(SAYS)]
        line, self.heard = self.heard.lstrip(b"\x1b"), b""
        if line and self.random_u32() % 20:
            return [answer for begins, answer in RIGHT if line.startswith(begins)][0]
        return None

    def write(self, data):
        self.heard += data
        return len(data)


def test_whatever_a_modem_says_the_board_goes_on_and_its_memory_is_bounded():
    connects = restarts = messages = 0
    for seed in range(1, 9):
        hardware = Anything(seed)
        settings = {"uart": 1, "family": "sim7600", "apn": "iot", "sim_pin": "1234", "power_key": 4}
        modem = Modem(settings, hardware, hardware.random_u32)
        modem.host, modem.port, modem.messages = "example.net", 7878, True
        modem.open()
        now = 0
        for i in range(3000):
            modem.step(now)
            assert modem.due_ms >= now
            if modem.up and not modem.outgoing:
                modem.outgoing = b"frame"
            if modem.message is None:
                modem.message = (b"00AA", 1)
            assert len(modem.take()) <= 1024 and len(modem.inbox) <= 8
            now += 1 + hardware.random_u32() % 2000
        connects += modem.connects
        restarts += modem.restarts
        messages += modem.messages_sent
    assert min(connects, restarts, messages) > 10, (connects, restarts, messages)


class Wrong(Anything):
    """A SIM with another PIN, whose modem cannot tell how many tries are left."""

    def __init__(self):
        super().__init__(1)
        self.tried = 0

    def read(self, n):
        line, self.heard = self.heard, b""
        if b"AT+CPIN=" in line:
            self.tried += 1
            return b"\r\n+CME ERROR: 16\r\n"
        if b"AT+CPIN?" in line:
            return b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"
        return b"\r\nERROR\r\n" if b"SPIC" in line else OK if line else None


def test_a_pin_is_tried_once_where_nobody_knows_how_many_tries_are_left():
    hardware = Wrong()
    modem = Modem({"uart": 1, "family": "sim7600", "sim_pin": "1234"}, hardware, hardware.random_u32)
    modem.open()
    for now in range(0, 3_600_000, 500):
        modem.step(now)
    assert hardware.tried == 1
    assert modem.problem.startswith("WRONG PIN")


class Riddles(Anything):
    """Answers every question about the SIM with what is no text."""

    def read(self, n):
        line, self.heard = self.heard, b""
        return b"\r\n+CME ERROR: \xff\xfe\r\n" if b"CPIN" in line else OK if line else None


def test_what_is_no_text_is_said_to_be_none_and_asked_for_again():
    hardware = Riddles(1)
    modem = Modem({"uart": 1, "family": "bg95"}, hardware, hardware.random_u32)
    modem.open()
    for now in range(0, 60_000, 100):
        modem.step(now)
    assert "riddles" in modem.problem


class Mute(Anything):
    """Hears all and says nothing."""

    def read(self, n):
        return None

    def press(self, level):
        self.heard += b"[%d]" % level


def test_a_silent_modem_is_reset_and_its_power_key_pressed_ever_more_rarely():
    for more, first, second in (({}, b"CFUN=1,1", b"CFUN=1,1"), ({"power_key": 4}, b"[1][0]", b"CFUN=1,1")):
        hardware = Mute(1)
        settings = {"uart": 1, "family": "bg95"}
        settings.update(more)
        modem = Modem(settings, hardware, hardware.random_u32)
        modem.open()
        for now in range(0, 120_000, 100):
            modem.step(now)
        assert modem.problem == "the modem does not answer"
        at = hardware.heard.find(first)
        assert 0 < at < hardware.heard.find(second, at + 1)
        tries = hardware.heard.count(b"[1]") + hardware.heard.count(b"CFUN")
        for now in range(120_000, 1_200_000, 100):
            modem.step(now)
        assert tries < hardware.heard.count(b"[1]") + hardware.heard.count(b"CFUN") <= tries + 8


class Slow(Anything):
    """Right answers, but the network takes 100 s for its own."""

    def __init__(self):
        super().__init__(1)
        self.now = self.until = 0
        self.commands = []

    def read(self, n):
        line, self.heard = self.heard.lstrip(b"\x1b"), self.heard if self.now < self.until else b""
        if not line or self.now < self.until:
            return None
        self.commands.append(line)
        return [answer for begins, answer in RIGHT if line.startswith(begins)][0]

    def write(self, data):
        if b"NETOPEN" in data or b"CIPOPEN" in data:
            self.until = self.now + 100_000
        return super().write(data)


def test_a_short_message_goes_before_the_next_step_of_dialling():
    hardware = Slow()
    settings = {"uart": 1, "family": "sim7600", "apn": "iot"}
    modem = Modem(settings, hardware, hardware.random_u32)
    modem.host, modem.port, modem.messages = "example.net", 7878, True
    modem.open()
    for hardware.now in range(0, 250_000, 100):
        modem.step(hardware.now)
        if hardware.now == 60_000:
            assert hardware.until > hardware.now, "it dials"
            modem.message = (b"00AA", 1)
    names = [one[:10] for one in hardware.commands]
    assert names.index(b"AT+NETOPEN") < names.index(b"AT+CMGS=1\r") < names.index(b"AT+CIPOPEN")
    assert modem.messages_sent == 1 and modem.up


def test_a_signal_is_told_in_dbm_and_in_a_word():
    assert in_words(31) == ", signal -51 dBm, good"
    assert in_words(10) == ", signal -93 dBm, fair"
    assert in_words(0) == ", signal -113 dBm, weak"
    assert in_words(99) == ", signal not known"
