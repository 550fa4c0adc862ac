"""SMS as a last resort for alarms: one packet in each message, to the host's number, when no other link has brought it.

Owns when a message goes: an alarm that the host has not acknowledged after a while, a few times over, and never more
messages a day than allowed, whatever the board and its resets do. Never `up`: no greeting, question or probe is worth a
message. The stream is greeted once the host asks who this is. The modem may be that of links/cellular.py.
"""

from meuse_protocol.carried import packet_of
from meuse_protocol.errors import MeuseError
from meuse_protocol.messages import NEED, NEED_HELLO, head, parse
from meuse_protocol.shared_endpoint import SharedEndpoint

from ..allowance import Allowance
from ..loading import load
from ..sms_pdu import DATA_BYTES, delivered, submit

AFTER_MS = 60_000
AGAIN_MS = 600_000  # a network may hold a message for minutes; ...
TIMES = 3  # ... so often in all, each time after twice as long
PER_DAY = 20
GREET_MS = 3_600_000  # anybody can invent the question who we are
ALARMS_MAX = 16  # that wait for their message; the other links have all


class Endpoint(SharedEndpoint):
    """Keeps the numbers of alarms; nothing flows here by a window."""

    alarms = ()

    def record_added(self, seq: int, urgent: bool = False) -> None:
        if urgent and len(self.alarms) < ALARMS_MAX:
            self.alarms = list(self.alarms) + [seq]


class Link:
    cost = 100
    ordered = False
    mtu = DATA_BYTES
    overhead = 0
    needs_key = True
    up = False
    pollable = None
    Endpoint = Endpoint

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "sms to " + settings["number"]
        self._number = settings["number"]
        self._after_ms = settings.get("after_ms", AFTER_MS)
        self._random_u32 = random_u32
        self._modem = load("modem").shared(settings, hardware, random_u32)
        self._modem.messages = True
        self._per_day = settings.get("per_day", PER_DAY)
        self._kept = self._allowance = None
        self._endpoint = self._log = None
        self._due = {}  # alarm -> when its message goes, how often it went
        self._greet = False
        self._greeted_ms = -GREET_MS
        self.due_ms = 0
        self.sent = self.received = self.damaged = self.too_long = 0

    def serve(self, endpoint, log) -> None:
        """Whose alarms go: `endpoint` signs them and knows which they are, `log` has them."""
        self._endpoint = endpoint
        self._log = log

    def count(self, kept, clock) -> None:
        """Messages of a day are kept; without a clock all days are one."""

        def day():
            utc_ms = clock.utc_ms(clock.now())
            return None if utc_ms is None else utc_ms // 86_400_000

        self._kept = kept
        self._allowance = Allowance(kept, self.name, self._per_day, 0, day)

    def open(self, now: int) -> None:
        self._modem.open()

    def close(self, now: int) -> None:
        pass

    def doubt(self, now: int) -> None:
        pass

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return False

    @property
    def problem(self):
        return None if self._modem.registered else self._modem.problem

    def words(self) -> str:
        """How it stands, for the technician."""
        modem, dropped = self._modem, self.damaged + self._modem.messages_dropped
        words = "%d sent, %d received, %d dropped, %d refused by the network, " % (
            self.sent, self.received, dropped, modem.messages_failed
        )
        words += "%d alarms too long, %d wait; %d of %d messages today" % (
            self.too_long, len(self._endpoint.alarms), self._allowance.used(), self._per_day
        )
        return "%s; PROBLEM: %s" % (words, self.problem) if self.problem else words

    def receive(self, now: int):
        modem = self._modem
        modem.step(now)
        if modem.registered and modem.message is None:
            self._send(now)
        self.due_ms = min(modem.due_ms, now + 1000)
        while modem.inbox:
            packet = self._heard(modem.inbox.pop(0))
            if packet:
                return packet
        return None

    def _heard(self, line: bytes):
        """A packet from the host's number, None for anything else."""
        found = delivered(line)
        if not found or found[0] != self._number:
            self.damaged += 1
            return None
        self.received += 1
        try:
            if head(found[1])[0] == NEED and parse(found[1]).fields[2] == NEED_HELLO:
                self._greet = True
        except MeuseError:
            pass  # the endpoint counts what is malformed
        return found[1]

    def _send(self, now: int) -> None:
        if self._greet and now - self._greeted_ms >= GREET_MS:
            self._greet = False
            self._greeted_ms = now
            self._due = {seq: (now, 0) for seq in self._due}  # what it has not believed goes again
            self._give(self._endpoint.hello(DATA_BYTES, self._random_u32()))
            return
        for seq in self._endpoint.alarms:
            due_ms, times = self._due.setdefault(seq, (now + self._after_ms, 0))
            if now >= due_ms:
                self._alarm(seq, times, now)
                return

    def _alarm(self, seq: int, times: int, now: int) -> None:
        packet = packet_of(self._endpoint, self._log, seq)
        if packet and len(packet) > DATA_BYTES:
            self.too_long += 1
            packet = None
        if not packet or times == TIMES:  # acknowledged on another link, or left to them
            self._endpoint.alarms = [one for one in self._endpoint.alarms if one != seq]
            del self._due[seq]
        elif self._give(packet):
            self._due[seq] = (now + (AGAIN_MS << times), times + 1)
        else:
            self._due[seq] = (now + self._after_ms, times)

    def _give(self, packet: bytes) -> bool:
        """To the modem, if the day allows."""
        if self._allowance.left() <= 0:
            return False
        self._allowance.spend(1)
        self._kept.flush()  # a board that crashes and crashes again must not spend the same twice
        self._modem.message = submit(self._number, packet)
        self.sent += 1
        return True
