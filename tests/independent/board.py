"""A whole board in plain Python, written from protocol/README.md alone: log, window, states, clock.

It stands for the board somebody else may write one day. It holds its log in memory; `Log.restart` is what a power cut
leaves of it. Random faults of its own line (`Line`) make the protocol earn its promises.
"""

import contextlib
import math
import random
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from tests.independent import wire

DATA, SINGLE, SCHEMA, BOOT, ANCHOR, GAP = 1, 2, 3, 5, 6, 8
HELLO, TIMEQ, PING = 16, 17, 18
ACK, WELCOME, TIME, NEED, ERR = 32, 33, 35, 36, 39
MESSAGES = {ACK: "ACK", WELCOME: "WELCOME", TIME: "TIME", NEED: "NEED", ERR: "ERR"}
VERSION = 16
MTU = 1024

WINDOW_FIRST, WINDOW, PAIRS_MAX = 8, 32, 16
RTO_FIRST_MS, RTO_MIN_MS, ACK_DELAY_MS, RTO_RESENDS, BACKOFF_MAX, DOUBTS_MAX = 1000, 200, 250, 2, 2, 3
SILENCE_MS, PROBE_MS, PROBE_HELD_MAX_MS, PROBE_QUIET_MAX_MS, HELLO_MAX_MS = 10_000, 5000, 30_000, 300_000, 60_000
TIME_BURST, TIME_RETRY_MS, TIME_MS, SAMPLES, ROUNDING_MS, DRIFT_MS = 4, 5000, 900_000, 8, 1, 20_000


def record(kind: int, *body: Any) -> bytes:
    """R of a record or of a control message: its header counts the stream, which is not in it."""
    return wire.split_stream(wire.pack([kind, 0, *body]))[0]


class Log:
    """Numbered records that wait for their ACK. Numbers are reserved in blocks; no number is used twice."""

    BLOCK = 16

    def __init__(self, stream: int) -> None:
        self.stream, self.next, self.cum, self.boot_no, self._reserved = stream, 1, 1, 0, 1
        self.records: dict[int, bytes] = {}

    def append(self, kind: int, *body: Any) -> int:
        seq = self.next
        self.next += 1
        self._reserved = max(self._reserved, seq + self.BLOCK)
        self.records[seq] = record(kind, seq, *body)
        return seq

    def forget(self, seqs: Any) -> None:
        for seq in seqs:
            self.records.pop(seq, None)

    def restart(self, firmware: str, clean: bool = True) -> None:
        """What the next boot finds; an unclean end costs the numbers that were reserved."""
        lost = (self.next, self._reserved - 1)
        self.next = self.next if clean else self._reserved
        self.boot_no += 1
        self.append(BOOT, self.boot_no, 1, firmware)
        if not clean and lost[0] <= lost[1]:
            self.append(GAP, *lost, 2)


class Flight:
    """A record that was sent on this link and is not acknowledged."""

    def __init__(self) -> None:
        self.order = self.at = 0
        self.clean, self.doubtful, self.lost = True, False, False


class Window:
    """What is on its way over one link, what of it is lost, and how long answers take."""

    def __init__(self) -> None:
        self.limit, self._order, self._backoff, self._doubts = WINDOW_FIRST, 0, 0, 0
        self.flights: dict[int, Flight] = {}
        self.acked: set[int] = set()
        self._srtt = self._rttvar = self._shortest = self._quiet_since = 0.0

    @property
    def rto(self) -> float:
        first = RTO_FIRST_MS if not self._srtt else max(RTO_MIN_MS, self._srtt + 4 * self._rttvar)
        return first + ACK_DELAY_MS

    def on_way(self) -> list[Flight]:
        return [flight for flight in self.flights.values() if not flight.lost]

    def pick(self, log: Log) -> int | None:
        """The record to send next: what is lost first, then the backlog; None if there is none, or no room."""
        if len(self.on_way()) >= min(self.limit, WINDOW):
            return None
        lost = [seq for seq, flight in self.flights.items() if flight.lost]
        fresh = (seq for seq in sorted(log.records) if seq not in self.flights)
        return min(lost) if lost else next(fresh, None)

    def sent(self, seq: int, now: float, ready: bool) -> None:
        """Clean is what was sent once, and to a host that had welcomed the board."""
        again = self.flights.get(seq)
        flight = self.flights[seq] = Flight()
        self._order += 1
        flight.order, flight.at, flight.clean = self._order, now, ready and again is None

    def acknowledge(self, seqs: set[int], conclude_to: int, now: float) -> None:
        """News of `seqs`; nothing is concluded for seqs above `conclude_to`."""
        known = [self.flights.pop(seq) for seq in seqs if seq in self.flights]
        news = [flight for flight in known if not flight.lost]
        if not news:
            return
        self._quiet_since = now
        self._time(news, now)
        proved = [f.order for f in news if f.clean or now - f.at >= 0.9 * self._shortest > 0]
        for seq, flight in self.flights.items():
            if proved and flight.order < max(proved) and seq <= conclude_to:
                flight.lost = True

    def _time(self, news: list[Flight], now: float) -> None:
        sure = [flight for flight in news if flight.clean and not flight.doubtful]
        self._doubts += not sure
        if sure or self._doubts >= DOUBTS_MAX:
            took = max(1.0, now - max(sure or news, key=lambda flight: flight.order).at)
            self._shortest = min(self._shortest or took, took) if sure else self._shortest
            self.measured(took)
            self._doubts = self._backoff = 0

    def measured(self, took: float) -> None:
        """One round trip (RFC 6298)."""
        self._rttvar = 0.75 * self._rttvar + abs(self._srtt - took) / 4 if self._srtt else took / 2
        self._srtt = max(1.0, 0.875 * self._srtt + took / 8 if self._srtt else took)

    def tick(self, now: float) -> None:
        """Finds the timeout."""
        flying = sorted(self.on_way(), key=lambda flight: flight.order)
        if flying and now >= max(self._quiet_since, flying[0].at) + self.rto * 2**self._backoff:
            for flight in flying:
                flight.doubtful = True
            for flight in flying[:RTO_RESENDS]:
                flight.lost = True
            self._quiet_since = now
            self._backoff = min(BACKOFF_MAX, self._backoff + 1)

    def unsend(self) -> None:
        """Everything on its way counts as unsent."""
        self.flights.clear()
        self._backoff = 0


class Clock:
    """UTC minus uptime, from the host's answers."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, float, int]] = []
        self._anchor: tuple[int, float] | None = None

    def answer(self, t1: int, t4: int, utc_ms: int, hold_ms: int) -> tuple[int, int] | None:
        """(offset, error) if an ANCHOR is due."""
        offset, error = utc_ms - (t1 + t4 - hold_ms) // 2, -(-(t4 - t1 - hold_ms) // 2) + ROUNDING_MS
        if self._samples and abs(offset - self._best(t4)[0]) > error + self._best(t4)[1]:
            self._samples.clear()
        self._samples = [*self._samples[1 - SAMPLES :], (offset, error, t4)]
        best, off = self._best(t4)
        anchor = self._anchor
        if anchor and off > anchor[1] / 2 and abs(best - anchor[0]) <= off + anchor[1]:
            return None
        self._anchor = (best, off)
        return best, -int(-off // 1)

    def _best(self, now: int) -> tuple[int, float]:
        return min(((o, e + (now - at) / DRIFT_MS) for o, e, at in self._samples), key=lambda sample: sample[1])


class Line:
    """One TCP connection, which loses, doubles and garbles a share of what it carries, after the first frame each way.

    A greeting may be lost like anything else; here it is spared, as every loss doubles the wait for the next.
    """

    def __init__(self, port: int, faults: random.Random, share: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=1)
        self._faults, self.share, self._buffer = faults, share, b"\0"
        self._said = self._heard = 0
        self.send_raw(b"\0")

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send(self, framed: bytes) -> None:
        self._said += 1
        if self._said > 1 and self._faults.random() < self.share:
            where = self._faults.randrange(len(framed) - 1)
            flipped = framed[:where] + bytes([framed[where] ^ 1 << self._faults.randrange(8)]) + framed[where + 1 :]
            framed = self._faults.choice([b"", framed * 2, flipped, framed[:where] + b"\0", framed[where:]])
        self.send_raw(framed)

    def receive(self, wait_s: float) -> list[bytes]:
        """Whole frames, without their zeros; OSError when the other end is gone."""
        if not select.select([self._socket], [], [], wait_s)[0]:
            return []
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the host hung up")
        *whole, self._buffer = (self._buffer + data).split(b"\0")
        pieces = [piece for piece in whole if piece]
        self._heard += len(pieces)
        return [piece for piece in pieces if self._heard == len(pieces) or self._faults.random() >= self.share / 5]

    def close(self) -> None:
        self._socket.close()


class Board:
    """One boot of a board with a key. `connect` opens a line or raises OSError; `step` is called again and again."""

    def __init__(self, device: str, psk: bytes, log: Log, connect: Callable[[], Line], uptime_ms: int = 0) -> None:
        self.device, self.log, self._connect = device, log, connect
        self.keys, self._started = wire.Keys(psk, log.stream), time.monotonic() - uptime_ms / 1000
        self.state, self.window, self.clock = "DOWN", Window(), Clock()
        self.schema: list[Any] = []
        self.anchors: list[int] = []
        self.counters: dict[str, int] = {}
        self.packets: list[bytes] = []
        self._line: Line | None = None
        self._needs: list[float] = []
        self._token_sent = self._heard = self._hello_at = self._next_probe = self._next_timeq = self._retry = 0
        self._next_hello = math.inf

    def uptime(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def define(self, *schema: Any, known: bool = False) -> None:
        """Says what batches mean: sid, name, tick_ms, channels. A log that holds it already needs no other SCHEMA."""
        self.schema = list(schema)
        if not known:
            self.log.append(SCHEMA, *schema)

    def done(self) -> bool:
        """Everything in the log is acknowledged."""
        return not self.log.records

    def step(self) -> None:
        """A moment of the program: hears, answers, sends what may be sent. Never raises for what the line does."""
        try:
            if self._line is None:
                self._link_up(self._connect())
            for piece in self._line.receive(0.005) if self._line else []:
                self._hear(piece)
            self._speak(self.uptime())
        except OSError:
            self.link_down()
            time.sleep(0.02)

    def relink(self, connect: Callable[[], Line]) -> None:
        """Ends the link; the next one comes from `connect`."""
        self._connect = connect
        self.link_down()

    def link_down(self) -> None:
        if self._line:
            self._line.close()
        self._line, self.state = None, "DOWN"

    def _link_up(self, line: Line) -> None:
        self._line, self.state, self.window = line, "GREETING", Window()
        self._nonce, self._alias, self._token, self._burst = random.getrandbits(32), None, None, TIME_BURST
        self._hellos, self._hello_wait, self._heard, self._next_timeq = 0, 0.0, self.uptime(), 0
        self._hello(self.uptime())

    # What the board says

    def _send(self, record: bytes, full: bool = False) -> None:
        stream = self.log.stream if full or self._alias is None else self._alias
        e2e = wire.with_stream(record, stream) + self.keys.mac_up(record)
        self.packets.append(e2e)
        if self._line:
            self._line.send(wire.frame(e2e))

    def _say(self, kind: int, *body: Any, full: bool = False) -> None:
        self._send(record(kind, *body), full)

    def _hello(self, now: int) -> None:
        sid, *meaning = self.schema
        schemas = [[sid, wire.schema_hash(*meaning)]]
        body = (VERSION, 0, self.log.cum, self.log.next, MTU, WINDOW, self.device, schemas, self._nonce)
        self._say(HELLO, *body, full=True)
        self._hello_at, self._hellos = now, self._hellos + 1
        self._hello_wait = min(HELLO_MAX_MS, self._hello_wait * 2 or max(1000, self.window.rto))
        self._next_hello = now + (self._hello_wait if self.state != "QUIET" else math.inf)

    def _probe(self, now: int, first: bool, most: int) -> None:
        self._say(PING, full=True)
        self._probe_wait = PROBE_MS if first else min(most, self._probe_wait * 2)
        self._next_probe = now + self._probe_wait

    def _speak(self, now: int) -> None:
        if now >= self._next_hello:
            self._hello(now)
        if self.state in ("HELD", "QUIET") and now >= self._next_probe:
            self._probe(now, False, PROBE_HELD_MAX_MS if self.state == "HELD" else PROBE_QUIET_MAX_MS)
        if self.state in ("READY", "HELD") and now >= self._next_timeq:
            self._ask_time(now)
        if self.state in ("GREETING", "READY"):
            self._send_records(now)

    def _ask_time(self, now: int) -> None:
        self._token, self._token_sent = random.getrandbits(32), now
        self._retry = min(TIME_MS, self._retry * 2 or TIME_RETRY_MS)
        self._next_timeq = now + self._retry
        self._say(TIMEQ, self._token)

    def _send_records(self, now: int) -> None:
        self.window.tick(now)
        flying = [flight.at for flight in self.window.on_way()]
        if flying and now - max(self._heard, min(flying)) > max(SILENCE_MS, 3 * self.window.rto):
            self._enter("QUIET", now)
            return
        while (seq := self.window.pick(self.log)) is not None:
            self._send(self.log.records[seq])
            self.window.sent(seq, now, self.state == "READY")

    def _enter(self, state: str, now: int) -> None:
        if self.state in ("HELD", "QUIET", "REFUSED") or state in ("HELD", "QUIET", "REFUSED"):
            self.window.unsend()
        if state == "QUIET":
            self._probe(now, True, PROBE_QUIET_MAX_MS)
        elif state == "HELD" and self.state != "HELD":
            self._probe_wait, self._next_probe = PROBE_MS / 2, now + PROBE_MS
        elif state == "GREETING":
            self._hello_wait, self._next_hello = 0.0, max(now, self._hello_at + 1000)
        elif state == "REFUSED":
            self._hello_wait, self._next_hello = HELLO_MAX_MS, now + HELLO_MAX_MS
        self.state = state

    # What the board hears

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def _hear(self, piece: bytes) -> None:
        try:
            message, authentic = self._open(wire.unframe(piece))
        except (wire.WireError, UnicodeDecodeError):
            self._count("malformed")
            return
        if not authentic and not (message[0] == ERR or (message[0] == NEED and message[2] == 1)):
            self._count("bad_mac")
            return
        self._count(MESSAGES.get(message[0], "unknown_control"))
        now = self.uptime()
        self._heard = now if authentic else self._heard
        if message[0] in MESSAGES:
            with contextlib.suppress(TypeError, IndexError):
                getattr(self, "_on_" + MESSAGES[message[0]].lower())(now, authentic, *message[2:])
        if authentic and self.state == "QUIET" and message[0] != NEED:
            self._enter("GREETING", now)

    def _open(self, e2e: bytes) -> tuple[list[Any], bool]:
        """(elements, whether the MAC holds); raises WireError."""
        reader = wire.Reader(e2e)
        message = reader.object()
        if not isinstance(message, list) or len(message) < 2:
            raise wire.WireError("no PDU")
        record, _ = wire.split_stream(e2e[: reader.at])
        return message, e2e[reader.at :] == self.keys.mac_down(record)

    def _on_welcome(self, now: int, _: bool, version: int, *rest: int) -> None:
        _, alias, cum, window, nonce = rest[:5]
        if nonce != self._nonce:
            self._count("welcome_stale")
        elif version // 16 != VERSION // 16:
            self._enter("REFUSED", now)
        else:
            self._alias = alias
            if self._hellos == 1:
                self.window.measured(now - self._hello_at)
            self._enter("HELD" if window == 0 else "READY", now)
            self._next_hello = math.inf
            self._on_ack(now, True, cum, window)

    def _on_ack(self, now: int, _: bool, cum: int, window: int | None = None, __: Any = None, *pairs: int) -> None:
        if cum < self.log.cum:
            self._count("ack_stale")
            return
        self.log.cum = at = min(cum, self.log.next)
        durable = {seq for seq in self.log.records if seq < at}
        for gap, run in zip(pairs[::2], pairs[1::2], strict=False):
            if at + gap + run > self.log.next or min(gap, run) < 1:
                self._count("ack_malformed")
                break
            at += gap + run
            durable |= {seq for seq in range(at - run, at) if seq in self.log.records}
        if window is not None:
            self.window.limit = window
            if self.state in ("READY", "HELD"):
                self._enter("HELD" if window == 0 else "READY", now)
        self.window.acknowledge(durable, at if len(pairs) >= 2 * PAIRS_MAX else self.log.next, now)
        self.log.forget(durable)

    def _on_time(self, now: int, _: bool, token: int, utc_ms: int, hold_ms: int) -> None:
        if token != self._token or hold_ms > now - self._token_sent:
            self._count("time_stale")
            return
        self._token, self._retry, self._burst = None, 0, self._burst - 1
        self._next_timeq = now + (1000 if self._burst > 0 else TIME_MS)
        anchor = self.clock.answer(self._token_sent, now, utc_ms, hold_ms)
        if anchor:
            self.anchors.append(anchor[0])
            self.log.append(ANCHOR, now, now + anchor[0], anchor[1], self.log.boot_no)

    def _on_need(self, now: int, authentic: bool, what: int, _: Any = None) -> None:
        if what == 1:
            self._alias = None
            if self.state in ("READY", "HELD"):
                self._enter("GREETING", now)
            else:
                self._hello_wait, self._next_hello = 0.0, max(now, self._hello_at + 1000)
        elif what == 0 and len([at for at in self._needs if now - at < 60_000]) < 4:
            self._needs.append(now)
            self.log.append(SCHEMA, *self.schema)

    def _on_err(self, now: int, authentic: bool, code: int, *_: Any) -> None:
        self._count(f"ERR {code}")
        if code == 1 and authentic:
            self._enter("REFUSED", now)
