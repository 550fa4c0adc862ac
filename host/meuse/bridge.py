"""What all connections share: the commit queue, the directory, the console logs, who is present.

Opens a session for every connection a link brings, holds all of them when the queue says so, and
turns what sessions report into presence, events and log lines. Knows no wire and no storage.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from meuse_protocol.host_endpoint import Hello, HostEndpoint
from meuse_protocol.messages import NEED_ANCHOR, NEED_SCHEMA
from meuse_protocol.rate import Rate

from meuse import board_words
from meuse.announced import Announced
from meuse.bus_session import Bus, BusSession
from meuse.clock import Clock
from meuse.console_log import ConsoleLogs
from meuse.fast_check import check
from meuse.identity import Identity, TrustedLinks
from meuse.journal.batch import Binding
from meuse.journal.commit import CommitQueue
from meuse.links import Wire, lorawan, serial
from meuse.presence import Presence, Presences
from meuse.session import Session

if TYPE_CHECKING:
    from meuse_protocol.ports import Directory

log = logging.getLogger(__name__)

# Records a board may have in flight on a serial line or a socket (protocol 3.4).
WINDOW = 32

# A connection on which nobody has said a HELLO that holds is worth no more than this.
STRANGER_S = 30.0

# LoRaWAN has an integrity check of its own, answers cost air time of a gateway that serves thousands, and a board may
# speak once an hour: an ACK for every eighth record, or after an hour, or when the board asks.
LORAWAN_MAC_BYTES = 4
LORAWAN_ACKS = (8, 3_600_000)
LORAWAN_STRANGER_S = 24 * 3600.0
LORAWAN_ASK = 60  # times later and more rarely

# What a board lists in HELLO may still be on its way; then it is asked for.
ASK_AFTER_S = 10.0

# A board answers one such wish a minute.
ASK_AGAIN_S = 65.0

# A board behind a relay that has said nothing for so long, or twice as long, is away: as on UDP.
SILENT_S = 35 * 60.0

# Key of the timer that looks for such boards; streams are no negative numbers.
RELAYED = -1

# Strangers may cause so many events a minute; the rest is only counted.
VIOLATIONS_PER_MINUTE = 20


class Bridge:
    """One per host. `commits` is set once, before the first link starts."""

    commits: CommitQueue

    def __init__(
        self,
        identity: Identity,
        announced: Announced,
        console: ConsoleLogs,
        clock: Clock,
        trusted: list[str],
    ) -> None:
        self.clock = clock
        self.console = console
        self.presences = Presences()
        self.sessions: set[Session] = set()
        self.counters: dict[str, int] = {}  # of sessions that are gone
        self._packets: dict[str, int] = {}  # of each device, when heartbeats were looked at last
        self._identity = identity
        self._announced = announced
        self._trusted = trusted
        self._trusting = TrustedLinks(identity, clock.now_ms)
        self._timers: dict[Session, dict[int, asyncio.TimerHandle]] = {}  # what is to be looked at later
        self._window = WINDOW
        self._held = False
        self._stopping = False
        self.arrived: Callable[[int], None] = lambda stream: None  # a board is there (again)
        self.answered: Callable[[], None] = lambda: None  # a RESULT came, and is not durable yet
        identity.bound = self._bound
        self._violations = Rate(VIOLATIONS_PER_MINUTE, 60_000)

    # -- from the links

    def opened(self, name: str, kind: str, wire: Wire) -> Session:
        """A link has a new connection."""
        endpoint = self._endpoint(name, kind, self._window)
        session = Session(name, kind, wire, endpoint, self)
        self._begin(session, wire)
        if kind == serial.KIND:
            session.call()
        else:
            session.stranger = True
            self._later(self._patience_s(session), session, self._expect)
        return session

    def has_key(self, device: str) -> bool:
        """Whether this device may speak where nobody is trusted."""
        return bool(self._identity.keys(device))

    def opened_bus(self, name: str, kind: str, wire: Wire, bus: Bus) -> BusSession:
        """A link has opened a wire with several boards, of which this host is the master."""
        endpoint = self._endpoint(name, kind, WINDOW, bus.boards)
        session = BusSession(name, kind, wire, endpoint, self, bus)
        session.master.held = self._held
        self._begin(session, wire)
        session.call()
        return session

    def _endpoint(self, name: str, kind: str, window: int, boards: int = 0) -> HostEndpoint:
        trusted = kind in self._trusted or name in self._trusted
        directory: Directory = self._trusting.directory(name) if trusted else self._identity
        if kind == lorawan.KIND:
            return HostEndpoint(directory, trusted, LORAWAN_MAC_BYTES, window, check, acks=LORAWAN_ACKS)
        return HostEndpoint(directory, trusted, window=window, check=check, boards=boards)

    def _begin(self, session: Session, wire: Wire) -> None:
        self.sessions.add(session)
        if self._held:
            wire.hold(True)

    def _expect(self, session: Session) -> None:
        """Nobody has said who they are for a while. While nothing is read, nobody could."""
        if self._held:
            self._later(self._patience_s(session), session, self._expect)
        elif session.device is None:
            self.send_away(session)

    @staticmethod
    def _patience_s(session: Session) -> float:
        return LORAWAN_STRANGER_S if session.kind == lorawan.KIND else STRANGER_S

    @staticmethod
    def _rarity(session: Session) -> int:
        return LORAWAN_ASK if session.kind == lorawan.KIND else 1

    def send_away(self, session: Session) -> None:
        """A stranger took too long, or too much."""
        self.count("strangers")
        session.close()

    def _later(self, seconds: float, session: Session, call: Callable[..., None], hello: Hello | None = None) -> None:
        """One thing per session, and per board where several share it: the last that was asked for."""
        timers = self._timers.setdefault(session, {})
        key = hello.state.stream if hello is not None and session.shared else 0
        if key in timers:
            timers[key].cancel()
        words = (session,) if hello is None else (session, hello)
        timers[key] = asyncio.get_running_loop().call_later(seconds, call, *words)

    def _forget(self, session: Session) -> None:
        for timer in self._timers.pop(session, {}).values():
            timer.cancel()

    # -- from the commit queue

    def pressure(self, held: bool) -> None:
        """Hold or release every connection; boards are told a window of 0, or the usual one."""
        if self._stopping:
            return
        self._held = held
        self._window = 0 if held else WINDOW
        for session in list(self.sessions):
            session.hold(held, self._window)

    def stop_reading(self) -> None:
        """The end is near: what is on the wires stays with the boards."""
        self._stopping = self._held = True
        for session in list(self.sessions):
            session.stop_reading()

    # -- from sessions

    def closed(self, session: Session) -> None:
        self.sessions.discard(session)
        self._forget(session)
        for name, count in session.counters.items():
            self.count(name, count)
        for device in session.devices:
            self.left(session, device)

    def left(self, session: Session, device: str) -> None:
        """A device is not there any more, by this connection."""
        if self.presences.left(device, self.clock.utc_ms()):
            name = session.name_for(device)
            log.info("%s: %s lost", device, name)
            self.commits.event("link-lost", device, name)

    def returned(self, session: Session, device: str, stream: int) -> None:
        """A device that had `left` is heard again, without a HELLO: it did not restart."""
        name = session.name_for(device)
        if self.presences.joined(device, stream, False, name, self.clock.utc_ms()):
            log.info("%s: on %s", device, name)
            self.commits.event("link-up", device, name)
        self.arrived(stream)

    def greeted(self, session: Session, before: str | None, hello: Hello) -> None:
        """A HELLO held; `before`: the device that was bound on this connection until now."""
        now_ms = self.clock.utc_ms()
        device, stream = hello.state.device, hello.state.stream
        name = session.name_for(device)
        if before is not None:
            self.presences.left(before, now_ms)
        if self.presences.joined(device, stream, hello.new, name, now_ms) and before != device:
            log.info("%s: on %s", device, name)
            self.commits.event("link-up", device, name)
        self.commits.binding(Binding(stream, device, now_ms, hello.next_seq, new=False))
        self._later(ASK_AFTER_S * self._rarity(session), session, self._ask, hello)
        self.arrived(stream)

    def relayed(self, session: Session) -> None:
        """A relay speaks there. Nothing tells when a board behind it is gone, but that it says nothing."""
        timers = self._timers.setdefault(session, {})
        timers[RELAYED] = asyncio.get_running_loop().call_later(SILENT_S, self._look_behind, session)

    def _look_behind(self, session: Session) -> None:
        for device in session.silent():
            self.left(session, device)
        self.relayed(session)

    def text(self, session: Session, at_ms: int, line: bytes) -> None:
        """A line that is no frame; on a network it is worth keeping only from somebody known."""
        if session.device is not None or session.kind == serial.KIND:
            self.console.line(session.device or session.name, at_ms, line)

    def _bound(self, stream: int, device: str) -> None:
        self.commits.binding(Binding(stream, device, self.clock.utc_ms(), 1, new=True))
        self.commits.event("stream-bound", device, f"{stream:08x}")

    def violated(self, session: Session, counter: str, detail: str) -> None:
        """Something a person may want to know; how much of it is bounded."""
        self._report(session.name, session.device, counter, detail)

    def turned_away(self, name: str, counter: str, detail: str) -> None:
        """A stranger that came to no session."""
        self.count(counter)
        self._report(name, None, counter, detail)

    def _report(self, name: str, device: str | None, counter: str, detail: str) -> None:
        self.count("violations")
        if self._violations.allow(self.clock.now_ms()):
            log.warning("%s: %s: %s", name, counter, detail)
            self.commits.event(counter.replace("_", "-"), device, f"{name}: {detail}")

    def noted(self, stream: int, kind: int, record: bytes) -> None:
        """A SCHEMA or an ANCHOR came."""
        self._announced.note(stream, kind, record)

    def said(self, device: str, record: bytes) -> None:
        """A BLOB came: what a board tells in words is an event, too."""
        words = board_words.of(record)
        if words is not None:
            log.info("%s: %s", device, words.text)
            self.commits.event(words.kind, device, words.text)

    def acknowledged(self, session: Session, device: str | None, records: int, waited_ms: int) -> None:
        if device is not None and records:
            name = session.name_for(device)
            before = self.presences.acknowledged(device, name, records, waited_ms, self.clock.utc_ms())
            if before != name and session in self.sessions:
                log.info("%s: from %s to %s", device, before, name)
                self.commits.event("link-changed", device, f"{before} to {name}")

    def _ask(self, session: Session, hello: Hello) -> None:
        """A while after a HELLO: what the journal still lacks is asked for."""
        stream = hello.state.stream
        lacking = self._announced.lacking(stream, hello.schemas)
        if lacking:
            session.need(stream, NEED_SCHEMA, lacking)
        elif not self._announced.anchored(stream):
            session.need(stream, NEED_ANCHOR, None)
        else:
            return
        self._later(ASK_AGAIN_S * self._rarity(session), session, self._ask, hello)

    def session_of(self, device: str) -> Session | None:
        """Where this device is heard now: by the link that carries its records; of several connections of that link,
        since nobody may have told that older ones are gone, the one heard last."""
        known = self.presences.devices.get(device)
        there = [session for session in self.sessions if device in session.devices]
        link = None if known is None else known.link
        return min(there, key=lambda session: (session.name_for(device) != link, -session.heard_ms), default=None)

    def heartbeats(self, now_ms: int) -> None:
        """Whatever authentic packet came since this was asked last, its device was heard."""
        packets: dict[str, int] = {}
        for session in self.sessions:
            for device in session.devices:
                count = sum(map(session.packets, self.presences.devices[device].streams))
                packets[device] = packets.get(device, 0) + count
        for device, count in packets.items():
            if count > self._packets.get(device, 0):
                self.presences.devices[device].heard_ms = now_ms
        self._packets = packets
    def expel(self, device: str) -> None:
        """End all connections on which it is heard; others on the same wire come back by themselves."""
        for session in [session for session in self.sessions if device in session.devices]:
            session.close()

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + by

    # -- for people

    def totals(self) -> dict[str, int]:
        """Counters of all connections, open and gone."""
        totals = dict(self.counters)
        for session in self.sessions:
            for name, count in session.counters.items():
                totals[name] = totals.get(name, 0) + count
        return totals

    def backlog(self, known: Presence) -> int:
        """Records that a device has announced by their numbers and that are not durable yet."""
        waiting = 0
        for stream in known.streams:
            state = self._identity.stream(stream)
            if state is not None:
                covered = sum(last - first + 1 for first, last in state.covered.ranges())
                waiting += max(0, state.next_seq - 1 - covered)
        return waiting
