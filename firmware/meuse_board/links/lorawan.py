"""LoRaWAN by a modem with RUI3's AT commands (RAK3172, RAK4630, RAK11720): an uplink is one packet of the protocol.

Source: RAKwireless, RUI3 AT command manual: AT+NJS, AT+JOIN, AT+SEND, status codes, +EVT events. Owns the port, one
command at a time, and the pause between uplinks. Region, keys, data rate and duty cycle are the modem's: a person has
put them there once, and they stay in its flash.
"""

from binascii import hexlify, unhexlify

from meuse_protocol.rare_answers import RareEndpoint

from .backoff import Backoff

FIRST_MS = 5000
LONGEST_MS = 300_000
ANSWER_MS = 3000  # for OK or an error
JOIN_MS = 90_000  # for both windows of several attempts
FLIGHT_MS = 30_000  # until the windows after an uplink have closed
BUSY_MS = 5000
NAP_MS = 200
CHUNK = 256
LINE_BYTES = 600  # an event with the longest packet in hex
HELLO_BYTES = 32  # beside the device's name, MAC included
AWAY, ASKED, JOINING, IDLE, SENDING, FLYING = range(6)
SILENT, NOT_JOINED = "the modem does not answer", "not joined: are DevEUI and key known to the network?"
TOO_LONG = "%d bytes are too long for this data rate: raise it, or lower max_pdu"


class Link:
    """settings: uart, baud, tx, rx; f_port, pause_ms, max_pdu."""

    cost = 70
    overhead = 13  # of LoRaWAN
    ordered = True
    needs_key = True
    window = 16
    Endpoint = RareEndpoint

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "lorawan"
        self.mtu = settings.get("max_pdu", 51)
        if len(settings["device"]) > self.mtu - HELLO_BYTES:
            raise ValueError("max_pdu = %d is too small for the name %s" % (self.mtu, settings["device"]))
        self.problem = None
        self._settings = settings
        self._hardware = hardware
        self._port = str(settings.get("f_port", 77)).encode()
        self._pause_ms = settings.get("pause_ms", 10_000)
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._modem = None
        self._state = AWAY
        self._until_ms = 0  # for what is waited for; while away, when to ask
        self._free_ms = 0  # not before: the next uplink
        self._in = b""
        self._command = b""  # what the port has not taken yet
        self._out = None  # the packet under way, or waiting because the modem is busy
        self.up = False
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        if not self._modem:
            self._modem = self._hardware.serial(self._settings)
            self.pollable = self._hardware.pollable(self._modem)

    def close(self, now: int) -> None:
        self._away(None, now)

    def doubt(self, now: int) -> None:
        pass  # a host that says little is the rule here

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return self.up and self._state == IDLE and not self._out and now >= self._free_ms

    def send(self, e2e: bytes, now: int) -> None:
        self._out = e2e
        self.sent += 1
        self._send(now)

    def receive(self, now: int):
        self._write()
        packet = None
        while packet is None:
            line = self._line()
            if line is None:
                break
            packet = self._take(line, now)
        if now >= self._until_ms and self._state != IDLE:
            self._late(now)
        elif self._state == IDLE and self._out and now >= self._free_ms:
            self._send(now)
        self.due_ms = now if packet is not None else now + NAP_MS
        return packet

    def _line(self):
        """The next line of the modem; None: not yet. One too long is cut."""
        end = self._in.find(b"\n")
        if end < 0:
            try:
                data = self._modem.read(CHUNK)
            except OSError:
                data = None
            if not data:
                return None
            self._in = (self._in + data)[-LINE_BYTES:]
            end = self._in.find(b"\n")
            if end < 0:
                return b""
        line, self._in = self._in[:end].strip(), self._in[end + 1 :]
        return line

    def _take(self, line: bytes, now: int):
        state = self._state
        if line[:5] == b"+EVT:":
            return self._event(line[5:], now)
        if line[:3] == b"AT_":
            self._refused(line, now)
        elif state == ASKED and line[-2:] == b"=1":
            self._joined(now)
        elif state == ASKED and line == b"OK":
            self._begin(JOINING, b"AT+JOIN=1:0:10:8", JOIN_MS, now)
        elif state == SENDING and line == b"OK":
            self._out = None
            self._state = FLYING
            self._until_ms = now + FLIGHT_MS
        return None

    def _event(self, text: bytes, now: int):
        """What happened by itself -> the packet of a downlink."""
        if text == b"JOINED":
            self._joined(now)
        elif text[:4] == b"JOIN":
            self._away(NOT_JOINED, now)
        elif text == b"TX_DONE":
            if self._state == FLYING:
                self._rest(self._pause_ms, now)
        elif text[:3] == b"RX_":
            parts = text.split(b":")
            if len(parts) == 6 and parts[4] == self._port:
                try:
                    packet = unhexlify(parts[5])
                    self.received += 1
                    return packet
                except ValueError:
                    self.damaged += 1
        return None

    def _refused(self, line: bytes, now: int) -> None:
        if self._state == SENDING and line in (b"AT_PARAM_ERROR", b"AT_TEST_PARAM_OVERFLOW", b"AT_ERROR"):
            self.problem = TOO_LONG % len(self._out)
            self._out = None
            self._rest(LONGEST_MS, now)
        elif self._state == SENDING and line != b"AT_NO_NETWORK_JOINED":
            self._rest(BUSY_MS, now)  # busy, or its share of the hour is used up
        elif self._state != IDLE:
            self._away(NOT_JOINED, now)

    def _late(self, now: int) -> None:
        """What was waited for has not come; or it is time to ask."""
        if self._state == AWAY:
            self._begin(ASKED, b"AT+NJS=?", ANSWER_MS, now)
        elif self._state == FLYING:
            self._rest(self._pause_ms, now)
        else:
            self._away(NOT_JOINED if self._state == JOINING else SILENT, now)

    def _joined(self, now: int) -> None:
        self._backoff.reset()
        self.problem = None
        self.up = True
        self._rest(0, now)

    def _rest(self, ms: int, now: int) -> None:
        self._state = IDLE
        self._free_ms = now + ms

    def _away(self, why, now: int) -> None:
        self.problem = why
        self.up = False
        self._state = AWAY
        self._out = None
        self._until_ms = now + self._backoff.next_ms()

    def _send(self, now: int) -> None:
        self._begin(SENDING, b"AT+SEND=" + self._port + b":" + hexlify(self._out), ANSWER_MS, now)

    def _begin(self, state: int, command: bytes, answer_ms: int, now: int) -> None:
        self._state = state
        self._until_ms = now + answer_ms
        self._command += command + b"\r\n"
        self._write()

    def _write(self) -> None:
        while self._command:
            try:
                written = self._modem.write(self._command)
            except OSError:
                written = len(self._command)  # nobody is there: no answer will tell
            if not written:
                return
            self._command = self._command[written:]
