"""MQTT 3.1.1 to a broker: one packet per message, out on meuse-link/<tenant>/<device>/up, in on .../down.

Owns the connection to the broker. A PUBACK only makes room for the next message: a record leaves the board when the
host's own acknowledgement comes back on .../down, so nothing is published a second time here; the stream resends.
The last will is an empty message, by which the host hears that the board has gone.
"""

import errno

from . import mqtt_packets as mqtt
from .dial import Dial

KEEP_ALIVE_S = 90
PING_MS = 60_000  # after so much silence, well within the time that the broker waits (1.5 times 90 s)
ANSWER_MS = 15_000  # for each of the broker's answers
FLIGHT = 8  # messages without a PUBACK: fills a long way to the broker; NATS allows 1,024, Mosquitto 20
CHUNK = 512
ANSWERS_MAX = 64  # bytes that wait to be written; a broker that does not read is not read either
REFUSED = "broker says: %s"
WHY = ("", "no MQTT 3.1.1", "not this client id", "not available", "wrong user or password", "wrong user or password")


class Link:
    """settings, beside those of dial.py: device, tenant, user, user_password."""

    cost = 20
    overhead = 124  # header and topic of the usual names 36, PUBACK 4, and TCP/IP around either and its acknowledgement
    ordered = False  # a broker may send again what it has sent before
    needs_key = True

    def __init__(self, settings: dict, hardware, random_u32):
        self.name = "mqtt to %s:%d" % (settings["host"], settings["port"])
        self.mtu = settings.get("max_pdu", 1024)
        self.problem = None
        self._settings = settings
        self._topic = "meuse-link/%s/%s/" % (settings.get("tenant", "default"), settings["device"])
        self._dial = Dial(settings, hardware, random_u32)
        self._stream = None
        self._reader = None
        self._out = b""  # being written: TLS wants the same bytes again until it has taken them
        self._then = b""  # what follows it
        self._flight = []  # numbers of messages whose PUBACK has not come
        self._number = 1
        self._heard_ms = self._wrote_ms = self._asked_ms = self._moved_ms = 0
        self._greeted = False  # CONNACK has come
        self.up = False
        self.pollable = None
        self.due_ms = 0
        self.sent = self.received = self.damaged = self.connects = 0

    def open(self, now: int) -> None:
        pass  # receive() connects when due_ms comes

    def doubt(self, now: int) -> None:
        """It is the host that is silent. The broker is asked, and left when it does not answer."""
        self._asked_ms = self._heard_ms = min(self._heard_ms, now - PING_MS)

    def close(self, now: int) -> None:
        """Without DISCONNECT, so that the broker publishes the last will."""
        self._dial.close(now)
        self._stream = self._reader = self.pollable = None
        self.up = self._greeted = False
        self._out = self._then = b""
        self._flight = []
        self.due_ms = self._dial.due_ms

    def hurry(self, now: int) -> None:
        pass

    def room(self, now: int) -> bool:
        return not self._out and len(self._flight) < FLIGHT

    def send(self, e2e: bytes, now: int) -> None:
        self._number = self._number % 0xFFFF + 1
        if not self._flight:
            self._moved_ms = now
        self._flight.append(self._number)
        self.sent += 1
        self._then += mqtt.publish(self._topic + "up", self._number, e2e)
        self._guard(self._write, now)

    def receive(self, now: int):
        return self._guard(self._next if self._stream else self._connect, now)

    def _guard(self, act, now: int):
        try:
            return act(now)
        except (OSError, ValueError) as problem:  # ValueError: TLS, of a certificate that does not hold
            self.problem = str(problem).strip()
            self.close(now)
            return None

    def _connect(self, now: int) -> None:
        self._stream = self._dial.step(now)
        self.due_ms = self._dial.due_ms
        if self._stream:
            self.pollable = self._dial.pollable
            begin = 4 + len(self._topic) + 4  # lengths, topic and number of a PUBLISH
            self._reader = mqtt.Reader(begin + self.mtu + 16, begin)
            self._heard_ms = self._wrote_ms = self._asked_ms = self._moved_ms = now
            user, password = self._settings.get("user", ""), self._settings.get("user_password", "")
            self._then = mqtt.connect(self._settings["device"], KEEP_ALIVE_S, self._topic + "up", user, password)
            self._next(now)

    def _next(self, now: int):
        """The next packet of the protocol, None when nothing more has come."""
        while True:
            self._write(now)
            packet = self._reader.next()
            if packet:
                e2e = self._take(packet, now)
                if e2e:
                    return e2e
                continue
            data = self._stream.read(CHUNK) if len(self._then) < ANSWERS_MAX else None
            if data is None:
                self._tend(now)
                return None
            if not data:
                raise OSError(errno.ECONNRESET)
            self._heard_ms = now
            self._reader.feed(data)

    def _take(self, packet, now: int):
        """Does what one of the broker's packets asks for -> the protocol's packet in it, if there is one."""
        first, body, whole = packet
        kind = first >> 4
        if not self._greeted and kind != mqtt.CONNACK:
            raise OSError(mqtt.NOT_MQTT)
        if kind == mqtt.PUBLISH:
            number, at = mqtt.published(first, body)
            if number:
                self._then += mqtt.puback(number)
            if whole and at < len(body):
                self.received += 1
                return body[at:]
            self.damaged += 1
        elif kind == mqtt.PUBACK:
            number = int.from_bytes(body, "big")
            if number in self._flight:
                self._flight.remove(number)
                self._moved_ms = now
        elif kind == mqtt.CONNACK:
            code = body[1] if len(body) == 2 else 3
            if code:
                raise OSError(REFUSED % (WHY[code] if code < len(WHY) else "no (%d)" % code))
            self._greeted = True
            self._then += mqtt.subscribe(1, self._topic + "down")
        elif kind == mqtt.SUBACK:
            if len(body) != 3 or body[2] > 2:
                raise OSError(REFUSED % "not this topic")
            self.up = True
            self.problem = None
            self.connects += 1
        return None

    def _tend(self, now: int) -> None:
        """What time brings: a PING when nothing was said for long, an end to waiting for an answer."""
        waits = self._flight or not self.up
        if now - self._heard_ms >= PING_MS + ANSWER_MS or (waits and now - self._moved_ms >= ANSWER_MS):
            raise OSError(errno.ETIMEDOUT)
        if now - max(self._asked_ms, min(self._heard_ms, self._wrote_ms)) >= PING_MS:
            self._asked_ms = now
            self._then += mqtt.PING
            self._write(now)
        self.due_ms = now + (1000 if self.up and not self._out else 10)

    def _write(self, now: int) -> None:
        while self._out or self._then:
            if not self._out:
                self._out, self._then = self._then, b""
            written = self._stream.write(self._out)
            if not written:
                return
            self._wrote_ms = now
            self._out = self._out[written:]
