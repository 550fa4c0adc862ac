"""The serial cable: frames and the technician's console share one port.

Owns the port, the framing and the rule who may write; refuses to know what a packet or a console command means.
The console is a function: this link, typed line, whether somebody is typing already -> iterator of lines of text (a
long answer never sits in memory whole), or None for a line that is nobody's: noise must not stop the readings. A typed
line pauses frames until 30 s pass without input; the log keeps them.
"""

from meuse_protocol.framing import FRAME, TEXT, Deframer, frame

TYPING_MS = 30_000
OFF_MS = 600_000  # `frames off`, forgotten by somebody who left, must not hold the readings for ever
SILENCE_MS = 1000  # after this the peer may be in any state: lead with a delimiter
ENTER_MS = 100  # a CR alone on the line for so long is Enter, not the first byte of a frame
CHUNK = 256
LINE_BYTES = 128  # people type that much, whatever the packets are
PROMPT = b"meuse> "


class Link:
    cost = 0
    ordered = True
    overhead = 6

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "serial"
        self.mtu = settings.get("max_pdu", 1024)
        self._settings = settings
        self._hardware = hardware
        self._port = None
        self._deframer = Deframer(max(self.mtu + 16, LINE_BYTES))
        self._out = b""  # what the port has not taken yet: one frame, one line of text, an echo
        self._lead = True  # the next frame needs a leading delimiter
        self._wrote_ms = self._heard_ms = 0
        self._baud = settings.get("baud", 115200) if "uart" in settings else 0  # USB has no pace of its own
        self._free_ms = 0  # when the wire will have taken what was written: an ESP32's write() waits until then
        self._more = False  # the last read was a full one
        self._shown = 0  # bytes of the unfinished line that were echoed
        self._answer = None
        self._ahead = None  # a line typed while an answer is still on its way
        self._quiet_until = 0
        self._idle_ms = TYPING_MS
        self.console = None
        self.up = False
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        if not self._port:
            self._port = self._hardware.serial(self._settings)
            self.pollable = self._hardware.pollable(self._port)
            self._settings = None
        self.up = True

    def close(self, now: int) -> None:
        self.up = False

    def doubt(self, now: int) -> None:
        self._lead = True  # nothing to connect again, only to resynchronise

    def frames(self, on: bool, now: int) -> None:
        """The console's `frames on` and `frames off`."""
        self._idle_ms = TYPING_MS if on else OFF_MS
        self._quiet_until = now if on else now + OFF_MS

    def hurry(self, now: int) -> None:
        self._quiet_until = now  # whoever is typing waits

    def room(self, now: int) -> bool:
        return not (self._out or self._answer) and now >= max(self._free_ms, self._quiet_until)

    def send(self, e2e: bytes, now: int) -> None:
        lead = self._lead or now - self._wrote_ms > SILENCE_MS
        self._lead = False
        self._out = b"\0" + frame(e2e) if lead else frame(e2e)
        self.sent += 1
        self._write(now)

    def receive(self, now: int):
        self._write(now)
        deframer = self._deframer
        while True:
            item = deframer.next()
            if item is None:
                if self._more:  # a line that never falls silent must not keep the board from its sensors
                    self._more = False
                    self.due_ms = now
                    return None
                try:
                    data = self._port.read(CHUNK)
                except OSError:
                    data = None
                if data:
                    self._heard_ms = now
                    self._more = len(data) == CHUNK
                    deframer.feed(data)
                    continue
                if now - self._heard_ms >= ENTER_MS:
                    item = deframer.idle()
            if item is None:
                break
            if item[0] == FRAME:
                self.received += 1
                return item[1]
            if item[0] == TEXT:
                self._line(item[1], now)
            else:
                self.damaged += 1
        if self._ahead is not None and not self._answer:
            line, self._ahead = self._ahead, None
            self._line(line, now)
        self._echo(now)
        self.due_ms = now + (5 if self._out or self._answer else ENTER_MS if deframer.pending else 1000)
        if now < self._free_ms:
            self.due_ms = min(self.due_ms, self._free_ms)
        return None

    def _echo(self, now: int) -> None:
        """Who types sees it."""
        held = self._deframer.pending
        if len(held) > self._shown and now < self._quiet_until and self._deframer.in_text:
            self._quiet_until = max(self._quiet_until, now + self._idle_ms)
            self._out += held[self._shown :].replace(b"\x7f", b"\b \b")
            self._shown = len(held)
            self._write(now)

    def _line(self, line: bytes, now: int) -> None:
        if self._answer:
            self._ahead, self._shown = line, 0
            return
        answer = self.console(self, line, now < self._quiet_until)
        if answer:
            self._out += line[self._shown :] + b"\r\n"
            self._answer = answer
            self._quiet_until = max(self._quiet_until, now + self._idle_ms)
        self._shown = 0

    def _write(self, now: int) -> None:
        while self._out or (now >= self._free_ms and self._next_text()):
            try:
                written = self._port.write(self._out)
            except OSError:
                written = len(self._out)  # nobody is there: as good as lost on the way
            if not written:
                return
            self._wrote_ms = now
            self._out = self._out[written:]
            if self._baud:
                self._free_ms = max(self._free_ms, now) + 1 + written * 10_000 // self._baud

    def _next_text(self) -> bool:
        if self._answer:
            self._lead = True
            try:
                line = next(self._answer, None)
            except MemoryError:  # the question was too large, not the board's work
                line = "no memory for that now"
            if line is None:
                self._answer = None
            self._out = PROMPT if line is None else line.encode() + b"\r\n"
        return bool(self._out)
