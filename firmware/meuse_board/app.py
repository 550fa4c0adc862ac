"""The board's composition root: takes configuration, identity, hardware, time and randomness, and wires everything.

    app = App(settings, device, psk, hardware, time, random_u32)
    app.run()          until stop() and what follows it is done, or reboot

settings, the product compiled by the PC (a dict that App takes apart; all keys optional):
    product, version   str, told in BOOT
    outputs            [{name, pin, safe}]                            outputs.py
    ops                [{name, kind, ...}]                            commands.py, which has an App of its own
    buses              {name: {kind: i2c|spi|onewire, ...}}           hardware.py
    links              [{kind: uart|tcp|..., carries?: all|alarms|nothing, cost?, budget_kb?, sealed?, mac_bytes?}]
                                                                      links/<kind>.py, wiring.py
    groups             [{name, tick_ms, period_ms, on_change?, quiet_ms?, max_rows?, max_age_ms?, channels: [
                          {name, unit, exp, flags?, driver, bus?, deadband?, low?, high?, hysteresis?, ...}]}]
    health_ms          period of the health group (60 s; 0: none)
    log                {segment_bytes, ...}                           arguments of FlashLog
    watchdog_ms        0: none
    unproven           True: settings were changed, and nobody has reached the board with them yet
Thresholds and deadbands are scaled integers, like the values they are compared with.
"""

import select

from meuse_protocol.board_endpoint import BoardEndpoint, Needed, Refused, Time, Welcomed
from meuse_protocol.messages import (
    ANCHOR,
    BLOB,
    BOOT,
    GAP,
    GAP_QUARANTINE,
    NEED_ANCHOR,
    NEED_SCHEMA,
    SCHEMA,
)

from . import VERSION, health
from .batcher import Batcher
from .clock import Clock
from .flash_log import FlashLog
from .kept import Kept
from .loading import Missing, forget, load
from .runner import Runner
from .sampler import Group, Sampler
from .schedule import next_due
from .schemas import name_groups, schema_of

DRAIN_MS = 10_000  # how long a stop waits for the host to store what is left
SEARCH_BYTES = 4096  # of a damaged place in flash, read in one pass: a fraction of a second
COLLECT_MS = 10_000  # a collection at a quiet moment, so that none is needed in the middle of a batch
NAP_MS = 100  # the longest sleep: watchdog, console and a stop want attention
QUIET_MS = 30  # writing flash stops the interrupts of an RP2, and bytes that arrive then are lost: so not while
LATEST_MS = 1000  # the host is talking, but at the latest after a second
RUNNING, STOPPING, DRAINING, DONE = range(4)
KEPT = ("name", "unit", "exp", "flags", "deadband", "driver")  # of a channel, once its driver has read the rest
PROVE_MS = 60_000  # changed settings have to live so long, and be reached, before they are there to stay
CUT_OFF_MS = 600_000  # nobody comes to switch a far board off and on: not reached for so long, it goes back by itself
CRASH = 1  # BLOB subject: the traceback that ended the boot before


class App:
    """`time` has ticks_ms, ticks_diff and gmtime; random_u32() gives 32 random bits; `root` holds the board's files.

    `problems` is for the technician: what of the settings does not work, and why.
    """

    def __init__(self, settings: dict, device: str, psk, hardware, time, random_u32, root: str = ""):
        self.device = device
        self.root = root
        self.firmware = "%s %s %s" % (VERSION, settings.get("product", "?"), settings.get("version", "?"))
        self.problems = []
        self.refused = None  # what the host said instead of a welcome
        self.log = FlashLog(root + "/log", random_u32, **settings.get("log", {}))
        self.kept = Kept(root + "/kept")
        self.log.before_flush = self.kept.flush  # a meter never goes back behind what it reported
        self.clock = Clock(time.ticks_ms, time.ticks_diff, self.log.boot_no)
        self.heap = health.Heap()
        self.cause = hardware.cause()
        self.runners = []
        self._hardware = hardware
        self._watchdog_ms = settings.get("watchdog_ms", 0)
        self._state = RUNNING
        self._until_ms = 0
        self._reboot = False
        self._collect_ms = self._tick_ms = 0
        self._prove_ms = PROVE_MS if settings.get("unproven") else None
        self._cut_off_ms = CUT_OFF_MS if settings.get("unproven") else None
        self._reached = False  # a host welcomed this board, or a person typed
        links = settings.get("links") or [{"kind": "uart"}]
        links = [one for one in links if self._link(one, time.gmtime, random_u32)]
        if self.problems and not any([hasattr(r.link, "console") for r in self.runners]):
            links.append({"kind": "uart"})  # the port of the board's own prompt: whoever comes to repair needs a way in
            self._link(links[-1], time.gmtime, random_u32)
        room = self.runners[0].link.mtu
        self.supervisor = None
        if len(links) > 1 or "cost" in links[0]:  # the compiler of products names it with all that is special
            self.supervisor, room = load("wiring").wire(self, links, psk, time.gmtime)
            forget("wiring")
        else:
            self.runners[0].endpoint = BoardEndpoint(device, self.log.stream, psk, self.log)
        self.endpoints = [runner.endpoint for runner in self.runners if runner.endpoint]
        self.endpoint = self.endpoints[0]
        for runner in self.runners:
            if psk is None and getattr(runner.link, "needs_key", False):
                self.problems.append("%s: no host believes a board without a key there" % runner.link.name)
        self.sampler = Sampler(self.clock, lambda *row: self.batcher.add(*row))
        for one in settings.get("groups", ()):
            group = Group(one, [self._driver(c) for c in one["channels"]])
            one["channels"] = [{k: c[k] for k in KEPT if k in c} for c in one["channels"]]
            self.sampler.groups.append(group)
        self._groups = self.sampler.groups[:]
        self._health = Group(health.settings(), [])
        self._health_ms = settings.get("health_ms", 60_000)
        self._health_at = self._health_ms
        if self._health_ms:
            self._groups.append(self._health)
        self.batcher = Batcher(self._groups, self.clock, room, self.append, self.log.next_seq)
        self.append(BOOT, (self.clock.boot, self.cause, self.firmware))
        self._announce()

    # -- wiring

    def _link(self, settings: dict, gmtime, random_u32) -> bool:
        kind = settings["kind"]
        if kind != "uart":
            settings["device"] = self.device  # a name on networks that have addresses for everybody
        try:
            link = load("links." + kind).Link(settings, self._hardware, random_u32)
            link.open(0)
        except Exception as problem:
            self.problems.append("link %s: %s" % (kind, problem))
            self._prove_ms = None  # such settings are not there to stay
            return False
        if hasattr(link, "console"):
            link.console = lambda line, typing: self._console(link, gmtime, line, typing)
        self.runners.append(Runner(link, self._event, random_u32))
        return True

    def _console(self, link, gmtime, line: bytes, typing: bool):
        """Loaded when somebody types: most boards work for years without anyone at the cable."""
        word = line.split()[:1]
        if not word or word[0].isalpha():
            try:
                link.console = load("console").Console(self, link, gmtime)
                self._reached = True
                return link.console(line, typing)
            except MemoryError:
                return iter(("no memory left to talk; try again after a reset",))
        return None

    def _driver(self, settings: dict):
        try:
            bus = self._hardware.bus(settings.get("bus"))
            return load("drivers." + settings["driver"]).Driver(bus, settings, self.kept)
        except Exception as problem:
            self.problems.append("channel %s: %s" % (settings["name"], problem))
            return Missing()

    def _announce(self) -> None:
        """Every group gets its schema id, and says what it means before its first use in this stream."""
        named = name_groups(self._groups, self.kept, self.log.stream)
        if len(named) < len(self._groups):
            self.problems.append("all schema ids of the stream are used: some channels are not read; erase the log")
        self._groups[:] = [group for group, _, _ in named]
        self.sampler.groups = [group for group in self._groups if group.drivers]
        for group, digest, new in named:
            self.endpoint.schemas.append([group.sid, digest])
            if new:
                self.append(SCHEMA, schema_of(group).to_body())

    # -- records and events

    def append(self, kind: int, body, urgent: bool = False):
        """Puts a record into the log and tells the endpoint."""
        seq = self.log.append(kind, body, urgent)
        if seq:
            for endpoint in self.endpoints:
                endpoint.record_added(seq, urgent)

    def _event(self, event, now: int) -> None:
        if isinstance(event, Time):
            self.clock.sync(event.offset_ms, event.err_ms)
            if event.anchor:
                self.append(ANCHOR, tuple(event.anchor) + (self.clock.boot,))
        elif isinstance(event, Needed):
            if event.what == NEED_SCHEMA:
                for group in self._groups:
                    if not event.items or group.sid in event.items:
                        self.append(SCHEMA, schema_of(group).to_body())
            elif event.what == NEED_ANCHOR and self.clock.offset_ms is not None:
                utc_ms = self.clock.utc_ms(now)
                self.append(ANCHOR, (now, utc_ms, self.clock.err_ms, self.clock.boot))
        elif isinstance(event, Refused):
            self.refused = event
            if event.seq:
                self.append(GAP, (event.seq, event.seq, GAP_QUARANTINE))
        elif isinstance(event, Welcomed):
            self.refused = None
            self._reached = True

    def report_crash(self, text: str) -> None:
        """What ended the boot before, as a record."""
        self.append(BLOB, (CRASH, None, text.encode()), True)

    # -- running

    def step(self) -> int:
        """One pass over everything; returns the uptime at which the next one is due."""
        now = self.clock.now()
        search = self.log.search
        search[0] = SEARCH_BYTES
        if search[1]:
            self.log.get(search[3])  # goes on; an endpoint asks again only after seconds
        wake_ms = min(now + NAP_MS, self.sampler.step(now), self.batcher.step(now))
        for runner in self.runners:
            wake_ms = min(wake_ms, runner.step(now))
        if self.supervisor and self.supervisor.step(now):
            wake_ms = now
        if now - max([runner.heard_ms or 0 for runner in self.runners]) > QUIET_MS or now >= self._tick_ms:
            self._tick_ms = now + LATEST_MS
            self.log.tick(now)
            self.kept.step(now)
        if now >= self._collect_ms:
            self._collect_ms = now + COLLECT_MS
            self.heap.collect()
        if self._health_ms and self._state == RUNNING and now >= self._health_at:
            self._health_at = next_due(now, self._health_ms, self.clock.offset_ms or 0, now)
            self.batcher.add(self._health, now, health.readings(self), False)
        if self._prove_ms and now >= self._prove_ms and self._reached:
            self._prove_ms = None if load("config").prove(self.root, True) else now + PROVE_MS
            forget("config")
        if self._cut_off_ms and now >= self._cut_off_ms:
            self._cut_off_ms = None
            if not self._reached:
                load("config").prove(self.root, False)
                self.reboot()
        if self._state != RUNNING:
            self._wind_up(now)
        self._hardware.feed(self._watchdog_ms)
        return wake_ms

    def run(self, also=()) -> None:
        """Until a stop is done. `also`: (pollable, call) pairs that want to be watched and called along."""
        poller = select.poll()
        for pollable, _ in also:
            poller.register(pollable, select.POLLIN)
        watched = [None] * len(self.runners)
        while self._state != DONE:
            wake_ms = self.step()
            for i, runner in enumerate(self.runners):
                pollable = runner.link.pollable if runner.link.up else None
                if pollable is not watched[i]:
                    if watched[i]:
                        poller.unregister(watched[i])
                    if pollable:
                        poller.register(pollable, select.POLLIN)
                    watched[i] = pollable
            for pollable, flags in poller.poll(max(0, wake_ms - self.clock.now())):
                if flags & (select.POLLHUP | select.POLLERR):
                    poller.unregister(pollable)  # it would wake the board for ever; the link hears of it by reading
            for _, call in also:
                call()
        if self._reboot:
            self._hardware.reboot()

    def stop(self) -> None:
        """No more readings; then what is collected goes to flash and, while the host answers, to the host."""
        if self._state == RUNNING:
            self._state = STOPPING
            self.sampler.stopping = True

    def reboot(self) -> None:
        self._reboot = True
        self.stop()

    def _wind_up(self, now: int) -> None:
        if self._state == STOPPING and not self.sampler.busy():
            self.batcher.close_all()
            self.log.flush()
            for runner in self.runners:
                runner.link.hurry(now)
            self._state = DRAINING
            self._until_ms = now if self._reboot else now + DRAIN_MS
        if self._state == DRAINING and (now >= self._until_ms or not self.log.backlog()):
            self.kept.flush()
            self.log.close()
            for runner in self.runners:
                runner.link.close(now)
            self._state = DONE
