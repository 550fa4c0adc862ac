"""A cellular modem on a UART: unlocks the SIM, registers, keeps one TCP connection, sends and receives short messages.

Owns the order of commands and what is tried when one fails: AT again, the connection closed, the data context
released, the modem reset, its power key. Each round waits longer. Refuses to know what the bytes mean. One modem may
serve two links, of which both call step(). The script is a generator: it yields a command and goes on with its result.

A PIN is tried only while the SIM still grants all its tries, which the SIM remembers, whoever is reset: a wrong
`sim_pin` takes one of three, once. Where a modem cannot tell, it is tried once per boot.
"""

from .at import Dialogue, number
from .links.backoff import Backoff
from .loading import load

FIRST_MS = 2000  # between rounds: half of it to all of it, doubled each time
LONGEST_MS = 300_000
ANSWER_MS = 5000  # of what needs no network
NETWORK_MS = 150_000  # of what does: Quectel 150 s, SIMCom 120 s
SEND_MS = 20_000  # until the modem has taken what it then sends by itself
REGISTER_MS = 180_000
LOOK_MS = 2000  # at the registration
SIGNAL_MS = 60_000
POLL_MS = 10_000  # an announcement of data may have been lost, with the modem's or the board's memory
BOOT_MS = 15_000  # BG95 says RDY after 4 s, SIM7600 after 11
TRIES = 3  # of a PIN that nobody has failed yet
READ_BYTES = 512
ALL_RUNGS = 5
MESSAGES_MAX = 8  # received, and not taken yet; a network sends the others again
SIM_FAULTS = ("+CME ERROR: 10", "+CME ERROR: 13", "+CME ERROR: 15")  # 3GPP TS 27.007, 9.2.1
_modems = {}


def shared(settings: dict, hardware, random_u32, kind=None):
    """The modem at settings["uart"]: whoever comes first makes it, of this kind (Modem)."""
    uart = settings["uart"]
    if uart not in _modems:
        _modems[uart] = (kind or Modem)(settings, hardware, random_u32)
    return _modems[uart]


class Modem:
    """settings: uart, baud, tx, rx, family, apn, sim_pin, power_key.

    `host`, `port`: set by whoever wants the TCP connection; then `up`, `outgoing` (bytes for it), take(), hang_up().
    `messages`: True by whoever wants SMS; then `registered`, `message` (the PDU to send), `inbox` (PDUs received).
    """

    def __init__(self, settings: dict, hardware, random_u32):
        self._settings = settings
        self._hardware = hardware
        self._family = load(settings["family"]).Family
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self.pollable = None
        self._at = None
        self._script = None
        self._key = None
        self.host = self.port = None
        self.messages = False
        self.up = self.registered = False
        self.outgoing = b""
        self._incoming = b""
        self.message = None  # PDU in hexadecimal, and the length that AT+CMGS wants
        self.inbox = []
        self._next_is_message = False
        self.messages_sent = self.messages_failed = self.messages_dropped = 0
        self.problem = "the modem is starting"
        self.signal = ""
        self._rung = 0
        self._tried = False  # the PIN, without knowing how many tries are left
        self._arrived = self._gone = False
        self._now = self._until_ms = self._dial_ms = self._asked_ms = self._polled_ms = 0
        self.connects = self.restarts = 0
        self.due_ms = 0

    def open(self) -> None:
        """OSError, ValueError for a port that does not exist."""
        if not self._at:
            if "power_key" in self._settings:
                self._key = self._hardware.output(self._settings["power_key"])
            port = self._hardware.serial(self._settings)
            self.pollable = self._hardware.pollable(port)
            self._at = Dialogue(port)
            self._script = self._life()

    def take(self) -> bytes:
        """What came over the connection since the last call."""
        data, self._incoming = self._incoming, b""
        return data

    def hang_up(self) -> None:
        """Nobody answers on the connection: another one, please."""
        if self.up:
            self.problem = "the host is silent"
            self._gone = True

    def step(self, now: int) -> None:
        """Moves everything that can move."""
        self._now = now
        line = self._at.poll(now)
        while line is not None:
            self._heard(line)
            line = self._at.poll(now)
        for _ in range(4):  # commands that are answered at once, or nothing to wait for
            if self._at.busy or (now < self._until_ms and not self._work()):
                break
            self._until_ms = now
            wish = next(self._script)
            if isinstance(wish, int):
                self._until_ms = now + wish
            else:
                self._at.ask(wish[0].encode(), now, *wish[1:])
        self.due_ms = now + 10 if self._at.busy or self._work() else min(self._until_ms, now + 1000)

    def _work(self) -> bool:
        """Something to do that ends a pause of a working modem."""
        if not self.registered:
            return False
        if self.up and (self.outgoing or self._gone or (self._arrived and not self._incoming)):
            return True
        return self.message is not None

    def _heard(self, line: bytes) -> None:
        """A line that nobody asked for."""
        family = self._family
        if self._next_is_message:
            self._next_is_message = False
            if len(self.inbox) < MESSAGES_MAX:
                self.inbox.append(line)
            else:
                self.messages_dropped += 1
        elif line.startswith(family.arrived):
            self._arrived = True
        elif line.startswith(family.gone):
            if self.up:
                self.problem = "the network has closed the connection"
                self._gone = True
        elif line.startswith(b"+CMT:"):
            self._next_is_message = True
        elif line == b"RDY" or line == b"APP RDY":  # it has started: on its own, or because it was told to
            if self.registered or self._at.busy:
                self.problem = "the modem has started again"
            self.restarts += 1
            self._lost()
            self._at.forget()
            self._script = self._life(False)
            self._until_ms = self._now + 1000

    def _lost(self) -> None:
        self.up = self.registered = self._gone = self._arrived = False
        self.outgoing = self._incoming = b""
        self.signal = ""

    # -- the script

    def _life(self, climb: bool = True):
        while True:
            try:
                if climb:
                    yield from self._climb()
                yield from self._wake()
                yield from self._unlock()
                yield from self._register()
                yield from self._serve()
            except OSError:
                pass  # `problem` says what
            except (ValueError, IndexError, MemoryError) as problem:
                self.problem = "the modem speaks in riddles (%s)" % problem
            climb = True
            self._lost()
            self._rung += 1
            yield self._backoff.next_ms()

    def _climb(self):
        """What is tried before the modem is asked again, by how often it has failed."""
        rung = self._rung % ALL_RUNGS
        if rung == 4 and self._key:
            self._key(1)
            yield self._family.press_ms
            self._key(0)
        elif rung >= 3:
            yield from self._ask("AT+CFUN=1,1", fails=True)
        else:
            return
        yield BOOT_MS  # cut short by its RDY

    def _wake(self):
        for _ in range(3):
            if (yield from self._ask("\x1bAT", 1000, fails=True)) == b"OK":  # ESC ends a prompt that waits
                break
        else:
            self.problem = "the modem does not answer"
            press = self._key and self._rung % ALL_RUNGS != 4
            self._rung = 3 if press else 2  # there is no use in closing anything; it may just be switched off
            raise OSError
        yield from self._ask("ATE0")
        yield from self._ask("AT+CMEE=1")

    def _unlock(self):
        code = yield from self._ask("AT+CPIN?", then="+CPIN: ", fails=True)
        if code != b"OK":
            self.problem = "NO SIM" if code.decode() in SIM_FAULTS else "the SIM is not ready"
            raise OSError
        state = self._at.answer.decode()
        if state == "READY":
            return
        self._rung = -1  # no reset of a modem brings the right PIN
        if state != "SIM PIN":
            self.problem = "the SIM is LOCKED, it asks for " + state
            raise OSError
        if "sim_pin" not in self._settings:
            self.problem = "the SIM asks for its PIN: set sim_pin"
            raise OSError
        if (yield from self._tries()) < TRIES:
            self.problem = "WRONG PIN, not tried again lest the SIM be locked: correct sim_pin, enter it in a phone"
            raise OSError
        self._tried = True
        yield from self._ask('AT+CPIN="%s"' % self._settings["sim_pin"], fails=True)
        yield LOOK_MS
        yield from self._ask("AT+CPIN?", then="+CPIN: ")
        if self._at.answer != b"READY":
            self.problem = "WRONG PIN"
            raise OSError
        self._tried = False
        self._rung = 0

    def _tries(self):
        """How often the PIN may be tried; where nobody can tell all of them, once."""
        text, then = self._family.tries
        code = yield from self._ask(text, then=then, fails=True)
        self._silent(code)
        if code == b"OK":
            return number(self._at.answer)
        return 0 if self._tried else TRIES

    def _register(self):
        begin, denied = self._now, ""
        while True:
            for kind in ("CEREG", "CGREG", "CREG"):  # LTE, packet data, voice and SMS; a modem lacks some
                if (yield from self._ask("AT+%s?" % kind, then="+%s: " % kind, fails=True)) == b"OK":
                    state = number((self._at.answer.split(b",") * 2)[1])  # reports by itself say the state only
                    if state == 1 or state == 5:  # at home, roaming
                        break
                    if state == 3:
                        denied = ", it refuses this SIM"
            else:
                self.problem = "not registered with a network" + denied
                if self._now - begin > REGISTER_MS:
                    raise OSError
                yield LOOK_MS
                continue
            break
        if self.messages:
            yield from self._ask("AT+CMGF=0")  # PDUs
            yield from self._ask("AT+CNMI=2,2,0,0,0")  # received ones are passed on at once
        self.registered = True
        self._dial_ms = self._now

    def _serve(self):
        while True:
            now = self._now
            if self._gone:
                self._gone = self.up = False
                self.outgoing = self._incoming = b""
                self._redial()
            elif self.message is not None:
                yield from self._submit()
            elif self.up and self.outgoing:
                yield from self._write()
            elif self.up and not self._incoming and (self._arrived or now - self._polled_ms >= POLL_MS):
                yield from self._read()
            elif self.host and not self.up and now >= self._dial_ms:
                yield from self._dial()
            elif not self.signal or now - self._asked_ms >= SIGNAL_MS:
                self._asked_ms = now
                yield from self._ask("AT+CSQ", then="+CSQ: ")
                self.signal = in_words(number(self._at.answer))
            else:
                yield 1000 if self.up or not self.host else max(1, self._dial_ms - now)

    def _redial(self) -> None:
        """The next connection is a pause away; after a few without one the modem itself is to blame."""
        if self._rung % ALL_RUNGS >= 2:
            raise OSError
        self._rung += 1
        self._dial_ms = self._now + self._backoff.next_ms()

    def _dial(self):
        family = self._family
        yield from self._do(family.hang_up, ANSWER_MS)  # a board that was reset left one behind
        if self._rung % ALL_RUNGS >= 2:
            yield from self._do(family.detach, NETWORK_MS)
        data = True
        for text, then in family.attach:  # refused where it is attached already
            data = yield from self._do((text % self._settings["apn"] if "%s" in text else text, then), NETWORK_MS)
            data = data and self._at.answer in (None, b"0")
        text, then = family.dial
        if (yield from self._do((text % (self.host, self.port), then), NETWORK_MS)) and self._at.answer.strip() == b"0":
            self.up = True
            self.problem = None
            self.connects += 1
            self._polled_ms = self._now
        else:
            fresh = self._rung % ALL_RUNGS >= 2  # else it may just have been attached before
            self.problem = "no data: is the APN right?" if fresh and not data else "no connection to the host"
            self._redial()

    def _write(self):
        data, self.outgoing = self.outgoing, b""
        text, then = self._family.send
        done = yield from self._do((text % len(data), then), SEND_MS, data)
        if not done or b"-1" in (self._at.answer or b""):
            self.problem = "the modem does not send"
            self._gone = True

    def _read(self):
        """Until nothing waits: only then is the next announced."""
        self._arrived = False
        self._polled_ms = self._now
        text, then = self._family.read
        code = yield from self._ask(text % READ_BYTES, then=then, block=True, fails=True)
        self._silent(code)
        if code == b"OK" and self._at.data:
            self._incoming = self._at.data
            self._arrived = True
            self._rung = 0
            self._backoff.reset()

    def _submit(self):
        pdu, size = self.message
        code = yield from self._ask("AT+CMGS=%d" % size, NETWORK_MS, "+CMGS: ", pdu + b"\x1a", fails=True)
        self.message = None
        if code == b"OK":
            self.messages_sent += 1
        else:
            self.messages_failed += 1

    def _do(self, command, within_ms: int, payload: bytes = b""):
        """One of the family's -> whether it was done; a short message that waits goes before it."""
        if self.message is not None:
            yield from self._submit()
        text, then = command
        code = yield from self._ask(text, within_ms, then, payload, fails=True)
        self._silent(code)
        return code == b"OK" or code == b"SEND OK"

    def _ask(self, text: str, within_ms=ANSWER_MS, then="", payload=b"", block=False, fails=False):
        """-> the final result, b"" for none; OSError where that must not be anything but OK."""
        yield text, within_ms, then.encode(), payload, block
        code = self._at.code
        if code == b"OK" or fails:
            return code
        if code:
            self.problem = "the modem refuses %s (%s)" % (text, code.decode())
        self._silent(code)
        raise OSError

    def _silent(self, code: bytes) -> None:
        """OSError where there was no result at all."""
        if not code:
            self.problem = "the modem gives no answer"
            raise OSError


def in_words(rssi: int) -> str:
    """Of AT+CSQ, 3GPP TS 27.007, 8.5."""
    if rssi > 31:
        return ", signal not known"
    word = "good" if rssi >= 15 else "fair" if rssi >= 10 else "weak"
    return ", signal %d dBm, %s" % (2 * rssi - 113, word)
