"""RS-485: one pair of wires for many boards. Speaks when the endpoint has its turn, and only then drives the wire.

Owns the port, the driver-enable pin (high from before the first bit until the last one has left) and the framing;
refuses to know whose turn it is: that is the endpoint's, and what others say passes through to it. A bus carries no
console. When the last bit has left is reckoned from the baud rate, and asked of the port where it can tell: a UART's
`txdone()`. Some ports (the ESP8266's) say yes while the last character is still leaving; the reckoning covers that.
"""

from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.polled import PolledEndpoint

BITS = 10  # a character: 8N1
TURN_MS = 2  # whoever spoke last lets go of the wire within this time
STEP_MS = 1  # the clock's grain: nothing ends early by it
TORN_MS = 100  # no frame pauses for so long: the rest of it will not come
CHUNK = 256


class Link:
    cost = 1
    overhead = 7
    ordered = True
    Endpoint = PolledEndpoint

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "rs485"
        self.mtu = settings.get("max_pdu", 256)
        self._settings = settings
        self._hardware = hardware
        self._baud = settings.get("baud", 19200)
        self._port = None
        self._driver = None  # the pin, None where the transceiver finds the direction by itself
        self._deframer = Deframer(self.mtu + 16, False)
        self._out = b""  # what the port has not taken yet
        self._speaking = False
        self._end_ms = 0  # when what was given to the port has left
        self._heard_ms = 0
        self.up = False
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        if not self._port:
            if "de" in self._settings:
                self._driver = self._hardware.output(self._settings["de"])  # low
            self._port = self._hardware.serial(self._settings)
            self.pollable = self._hardware.pollable(self._port)
        self.up = True

    def close(self, now: int) -> None:
        self.up = False
        self._out = b""
        self._let_go()

    def doubt(self, now: int) -> None:
        pass  # a silent master has other boards, or is gone: nothing here would bring it back

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        if self._speaking:
            return not self._out  # one turn, one piece: a pause would end it
        return now >= self._heard_ms + (TORN_MS if self._deframer.pending else TURN_MS)

    def send(self, e2e: bytes, now: int) -> None:
        if self._speaking:
            self._out = frame(e2e)
        else:
            if self._driver:
                self._driver(1)
            self._speaking = True
            self._end_ms = now
            self._out = b"\0" + frame(e2e)  # whatever was on the wire before ends here
        self.sent += 1
        self.due_ms = self._end_ms = max(self._end_ms, now) + (len(self._out) * 1000 * BITS - 1) // self._baud + 1
        self._write()

    def receive(self, now: int):
        self._write()
        item = self._next(now)
        if self._speaking and now >= self._end_ms + STEP_MS and not self._out and self._left():
            self._let_go()
        self.due_ms = now + 1000
        if self._speaking:
            self.due_ms = max(now + 1, self._end_ms + STEP_MS)
        else:
            free_ms = self._heard_ms + (TORN_MS if self._deframer.pending else TURN_MS)
            if now < free_ms:
                self.due_ms = free_ms
        return item

    def _next(self, now: int):
        deframer = self._deframer
        while True:
            item = deframer.next()
            if item is None:
                data = self._read()
                if not data:
                    return None
                if not self._speaking:  # else it is our own echo
                    self._heard_ms = now
                    deframer.feed(data)
            elif item[0] == FRAME:
                self.received += 1
                return item[1]
            else:
                self.damaged += 1

    def _read(self):
        try:
            return self._port.read(CHUNK)
        except OSError:
            return None

    def _write(self) -> None:
        if self._out:
            try:
                self._out = self._out[self._port.write(self._out) or 0 :]
            except OSError:
                self._out = b""  # as good as lost on the way

    def _left(self) -> bool:
        """Whether the port says that nothing is under way; True where it cannot tell."""
        done = getattr(self._port, "txdone", None)
        return not done or done()

    def _let_go(self) -> None:
        if self._speaking and self._driver:
            self._driver(0)
        self._speaking = False
