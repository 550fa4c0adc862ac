"""TCP over a cellular modem that is spoken to with AT commands; its stream carries frames, as that of tcp.py does.

Owns the framing; the modem (modem.py) may serve links/sms.py too. Refuses to know what a packet means.
"""

from meuse_protocol.framing import FRAME, Deframer, frame

from ..loading import load


class Link:
    cost = 80
    ordered = True
    overhead = 92  # of IP and TCP for the packet and its acknowledgement 80, of the frame 6, and some that go twice
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "cellular to %s:%d" % (settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1024)
        self._modem = load("modem").shared(settings, hardware, random_u32)
        self._modem.host, self._modem.port = settings["host"], settings["port"]
        self._deframer = None
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        self._modem.open()
        self.pollable = self._modem.pollable

    def close(self, now: int) -> None:
        self._deframer = None

    def doubt(self, now: int) -> None:
        self._modem.hang_up()

    def hurry(self, now: int) -> None:
        pass

    @property
    def up(self) -> bool:
        return self._deframer is not None

    @property
    def problem(self):
        return self._modem.problem

    @property
    def signal(self) -> str:
        return self._modem.signal

    def room(self, now: int) -> bool:
        return not self._modem.outgoing

    def send(self, e2e: bytes, now: int) -> None:
        self._modem.outgoing = frame(e2e)
        self.sent += 1
        self.due_ms = now

    def receive(self, now: int):
        modem = self._modem
        modem.step(now)
        self.due_ms = modem.due_ms
        if not modem.up:
            self._deframer = None
            return None
        if not self._deframer:
            self._deframer = Deframer(self.mtu + 16, False)
            modem.outgoing = b"\0"  # the delimiter that opens a stream
        data = modem.take()
        if data:
            self.due_ms = now  # the modem may hold more
            self._deframer.feed(data)
        item = self._deframer.next()
        while item:
            if item[0] == FRAME:
                self.received += 1
                return item[1]
            self.damaged += 1
            item = self._deframer.next()
        return None
