"""LoRa without LoRaWAN: a packet of the protocol is a packet on the air, heard by all who have the same settings.

Owns the radio, whose turn it is and the air time of the hour; a board at the gateway's end has this same link. Nobody
can send and hear at once, so after each packet the link listens for as long as an answer may take to begin, and it
never begins while somebody else is heard. Packets carry no address: the stream's full name and the MAC say whose they
are. Many boards share one way to a host, so nobody is called by a short name here.
"""

from meuse_protocol.shared_endpoint import SharedEndpoint

from .airtime import DutyCycle, air_ms, usual_bytes
from .backoff import Backoff
from .sx127x import Radio

FIRST_MS = 1000
LONGEST_MS = 60_000
ANSWER_MS = 1000  # a host stores, waits 250 ms for more and answers: so long its answer may take to begin
TURN_MS = 40  # after a packet came, whoever sent it may go on; ...
CHANCE_MS = 200  # ... and of several who waited for it one begins first
LATE_MS = 2000  # the chip has not said that it is done: begin anew
CHECK_MS = 5000
HELLO_BYTES = 36  # beside the device's name, MAC included


class Endpoint(SharedEndpoint):
    """Calls its stream by its full name."""

    def _welcome(self, fields, now_ms: int) -> None:
        super()._welcome(fields, now_ms)
        self._short = self.stream


class Link:
    """settings: bus, cs; frequency_khz, sf, bandwidth_khz, coding, power_dbm, network, duty_permille, max_pdu."""

    cost = 60
    overhead = 0  # it is the air that costs
    ordered = True
    needs_key = True
    window = 4
    pollable = None
    Endpoint = Endpoint

    def __init__(self, settings: dict, hardware, random_u32):
        khz, sf = settings.get("frequency_khz", 868_100), settings.get("sf", 7)
        bandwidth, coding = settings.get("bandwidth_khz", 125), settings.get("coding", 5)
        self.name = "lora at %d.%d MHz, SF%d" % (khz // 1000, khz % 1000 // 100, sf)
        self.mtu = settings.get("max_pdu", usual_bytes(sf))
        if len(settings["device"]) > self.mtu - HELLO_BYTES:
            raise ValueError("max_pdu = %d is too small for the name %s" % (self.mtu, settings["device"]))
        self.problem = None
        self._settings = (khz, bandwidth, sf, coding, settings.get("power_dbm", 14), settings.get("network", 0x4D))
        self._air = (sf, bandwidth, coding)
        self._longest_ms = self._takes_ms(self.mtu)
        self._step_ms = min(100, max(5, self._takes_ms(8) // 2))  # two packets in it would be one lost
        self._pins = (settings.get("bus"), settings["cs"])
        self._hardware = hardware
        self._random_u32 = random_u32
        self._backoff = Backoff(FIRST_MS, LONGEST_MS, random_u32)
        self._duty = DutyCycle(settings.get("duty_permille", 10))
        self._radio = None
        self._end_ms = None  # of what is on the air; None while listening
        self._quiet_ms = 0  # not before: somebody may want to answer
        self._busy_ms = None  # since when somebody else is heard
        self._check_ms = 0
        self.up = False
        self.due_ms = 0
        self.sent = self.received = self.damaged = 0

    def open(self, now: int) -> None:
        bus, cs = self._pins
        self._radio = Radio(self._hardware.bus(bus), self._hardware.output(cs), self._settings)
        self.due_ms = now

    def close(self, now: int) -> None:
        if self.up:
            self._radio.sleep()
        self._lost(now)

    def doubt(self, now: int) -> None:
        pass  # there is no connection to renew; the chip is looked at every 5 s

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        if not self.up or self._end_ms is not None or now < self._quiet_ms:
            return False
        if not self._duty.room(now, self._longest_ms):
            self.problem = "air time of this hour is used up"
            return False
        self.problem = None
        if not self._radio.busy():
            self._busy_ms = None
            return True
        self._busy_ms = self._busy_ms or now
        return now - self._busy_ms > self._longest_ms + ANSWER_MS  # nobody who listens goes on so long: a disturber

    def send(self, e2e: bytes, now: int) -> None:
        takes_ms = self._takes_ms(len(e2e))
        self._radio.send(e2e)
        self._duty.spend(now, takes_ms)
        self._end_ms = self.due_ms = now + takes_ms
        self._busy_ms = None
        self.sent += 1

    def receive(self, now: int):
        if not self.up:
            if now >= self.due_ms:
                self._begin(now)
            return None
        if self._end_ms is not None:
            self._finish(now)
            return None
        if now >= self._check_ms:
            self._check_ms = now + CHECK_MS
            if not self._radio.listening():
                return self._lost(now)
        self.due_ms = now + self._step_ms
        packet = self._radio.receive()
        if packet is not None:
            self._quiet_ms = now + TURN_MS + self._random_u32() % CHANCE_MS
            if packet:
                self.received += 1
                return packet
            self.damaged += 1
        return None

    def _begin(self, now: int) -> None:
        try:
            self._radio.begin()
        except OSError:
            self.problem = "no SX127x answers"
            self._lost(now)
            return
        self._backoff.reset()
        self.problem = None
        self.up = True
        self._quiet_ms = now + self._random_u32() % ANSWER_MS  # boards that got their power together
        self._check_ms = now + CHECK_MS
        self.due_ms = now

    def _finish(self, now: int) -> None:
        """Listens as soon as what was sent has left."""
        self.due_ms = max(now + 1, self._end_ms)
        if now < self._end_ms:
            return
        if self._radio.sent():
            self._radio.listen()
            self._end_ms = None
            self._quiet_ms = now + ANSWER_MS + self._random_u32() % ANSWER_MS
        elif now > self._end_ms + LATE_MS:
            self.problem = "the radio does not send"
            self._lost(now)

    def _lost(self, now: int) -> None:
        self.up = False
        self._end_ms = None
        self.due_ms = now + self._backoff.next_ms()

    def _takes_ms(self, size: int) -> int:
        sf, bandwidth, coding = self._air
        return air_ms(size, sf, bandwidth, coding)
