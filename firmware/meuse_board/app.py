"""The board's composition root: takes configuration, identity, hardware, time and randomness, and wires everything.

    app = App(config, device, psk, hardware, time, random_u32)
    app.run()          until stop() and what follows it is done, or reboot

config.value, the product compiled by the PC (all keys optional but `groups` and `links`):
    product, version   str, told in BOOT
    outputs            [{name, pin, safe}]                            outputs.py
    buses              {name: {kind: i2c|spi|onewire, ...}}           hardware.py
    links              [{kind: uart|tcp, ...}]                        links/<kind>.py
    groups             [{name, tick_ms, period_ms, on_change?, quiet_ms?, max_rows?, max_age_ms?, channels: [
                          {name, unit, exp, flags?, driver, bus?, deadband?, low?, high?, hysteresis?, ...}]}]
    health_ms          period of the health group (60 s; 0: none)
    log                {segment_bytes, ...}                           arguments of FlashLog
    watchdog_ms        0: none
Thresholds and deadbands are scaled integers, like the values they are compared with.
"""

import select

from meuse_protocol.board_endpoint import BoardEndpoint, Needed, Time
from meuse_protocol.messages import ANCHOR, BLOB, BOOT, NEED_ANCHOR, NEED_SCHEMA, SCHEMA
from meuse_protocol.schema import MAX_SID, Schema

from . import VERSION
from .batcher import Batcher
from .clock import Clock
from .flash_log import FlashLog
from .health import GROUP, Gauge, Heap, gauges
from .kept import Kept
from .runner import Runner
from .sampler import Channel, Group, Sampler

DRAIN_MS = 10_000  # how long a stop waits for the host to store what is left
COLLECT_MS = 10_000  # a collection at a quiet moment, so that none is needed in the middle of a batch
NAP_MS = 100  # the longest sleep: watchdog, console and a stop want attention
RUNNING, STOPPING, DRAINING, DONE = range(4)
CRASH = 1  # BLOB kind: the traceback that ended the boot before


class App:
    """`time` has ticks_ms, ticks_diff and gmtime; random_u32() gives 32 random bits; `root` holds the board's files."""

    def __init__(self, config, device: str, psk, hardware, time, random_u32, root: str = ""):
        self.config = config
        self.settings = settings = config.value
        self.device = device
        self.version = VERSION
        # For the technician: what of the configuration does not work, and why.
        self.problems = ["output %s cannot be driven" % name for name in getattr(config, "unsafe", ())]
        self.log = FlashLog(root + "/log", random_u32, **settings.get("log", {}))
        self.kept = Kept(root + "/kept")
        self.clock = Clock(time.ticks_ms, time.ticks_diff, self.log.boot_no)
        self.heap = Heap()
        self.cause = hardware.cause()
        self.runners = []
        self._hardware = hardware
        self._state = RUNNING
        self._until_ms = 0
        self._reboot = False
        self._collect_ms = 0
        self._schemas = []
        self.endpoint = BoardEndpoint(device, self.log.stream, psk, self.log)
        for one in settings.get("links") or [{"kind": "uart"}]:
            self._link(one, time.gmtime, random_u32)
        self.sampler = Sampler([], self.clock, lambda *row: self._batcher.add(*row))
        groups = self.sampler.groups
        self._batcher = Batcher(groups, self.clock, self.runners[0].link.mtu, self.append)
        self.append(BOOT, (self.clock.boot, self.cause, self._firmware()))
        for one in settings.get("groups", ()):
            groups.append(Group(one, [self._channel(s) for s in one["channels"]]))
        if settings.get("health_ms", 60_000):
            groups.append(self._health(settings.get("health_ms", 60_000)))
        self._name_schemas()

    # -- wiring

    def _link(self, settings: dict, gmtime, random_u32) -> None:
        """The first link carries the readings; what comes after it is a console."""
        kind = settings["kind"]
        link = _load("links." + kind).Link(settings, self._hardware, random_u32)
        if hasattr(link, "console"):
            link.console = _load("console").Console(self, link, gmtime)
        endpoint = None if self.runners else self.endpoint
        self.runners.append(Runner(kind, link, endpoint, self._event, random_u32))
        link.open(0)

    def _channel(self, settings: dict):
        try:
            bus = self._hardware.bus(settings.get("bus"))
            driver = _load("drivers." + settings["driver"]).Driver(bus, settings, self.kept)
        except Exception as problem:
            self.problems.append("channel %s: %s" % (settings["name"], problem))
            driver = Gauge(lambda: [-1])
        return Channel(settings, driver)

    def _health(self, period_ms: int):
        settings = {"name": GROUP, "tick_ms": 1000, "period_ms": period_ms, "max_rows": 1}
        return Group(settings, [Channel(s, gauge) for s, gauge in gauges(self)])

    def _name_schemas(self) -> None:
        """A schema id for each group: the one this stream knows it by, or the next one, told before its first use."""
        if self.kept.get("stream") != self.log.stream:
            self.kept.values = {k: v for k, v in self.kept.values.items() if k[0] != "#"}
            self.kept.put("stream", self.log.stream)
        for group in self.sampler.groups[:]:
            s = group.settings
            rows = [(c["name"], c["unit"], c["exp"], c.get("flags", 0)) for c in [c.settings for c in group.channels]]
            schema = Schema(0, s["name"], s["tick_ms"], rows)
            digest = schema.hash4()
            name = "#" + digest.hex()
            known = self.kept.get(name)
            schema.sid = group.sid = known or 1 + sum([k[0] == "#" for k in self.kept.values])
            if group.sid > MAX_SID:
                self.sampler.groups.remove(group)
                self.problems.append("group %s: all %d schema ids are used, erase the log" % (s["name"], MAX_SID))
                continue
            self.kept.put(name, group.sid)
            self._schemas.append(schema)
            self.endpoint.schemas.append([group.sid, digest])
            if not known:
                self.append(SCHEMA, schema.to_body())
        self.kept.flush()

    def _firmware(self) -> str:
        s = self.settings
        return "%s %s %s" % (self.version, s.get("product", "?"), s.get("version", "?"))

    # -- records and events

    def append(self, kind: int, body, urgent: bool = False):
        """Puts a record into the log and tells the endpoint."""
        seq = self.log.append(kind, body, urgent)
        if seq:
            self.endpoint.record_added(seq, urgent)

    def _event(self, event, now: int) -> None:
        if isinstance(event, Time):
            self.clock.sync(event.offset_ms, event.err_ms)
            if event.anchor:
                self.append(ANCHOR, tuple(event.anchor) + (self.clock.boot,))
        elif isinstance(event, Needed):
            if event.what == NEED_SCHEMA:
                for schema in self._schemas:
                    if not event.items or schema.sid in event.items:
                        self.append(SCHEMA, schema.to_body())
            elif event.what == NEED_ANCHOR and self.clock.offset_ms is not None:
                utc_ms = self.clock.utc_ms(now)
                self.append(ANCHOR, (now, utc_ms, self.clock.err_ms, self.clock.boot))

    def report_crash(self, text: str) -> None:
        """What ended the boot before, as a record."""
        self.append(BLOB, (CRASH, None, text.encode()))

    # -- running

    def step(self) -> int:
        """One pass over everything; returns the uptime at which the next one is due."""
        now = self.clock.now()
        wake_ms = min(now + NAP_MS, self.sampler.step(now), self._batcher.step(now))
        for runner in self.runners:
            wake_ms = min(wake_ms, runner.step(now))
        self.log.tick(now)
        self.kept.step(now)
        if now >= self._collect_ms:
            self._collect_ms = now + COLLECT_MS
            self.heap.collect()
        if self._state != RUNNING:
            self._wind_up(now)
        self._hardware.feed(self.settings.get("watchdog_ms", 0))
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
                pollable = runner.link.pollable
                if pollable is not watched[i]:
                    if watched[i]:
                        poller.unregister(watched[i])
                    if pollable:
                        poller.register(pollable, select.POLLIN)
                    watched[i] = pollable
            poller.poll(max(0, wake_ms - self.clock.now()))
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
            for group in self.sampler.groups:
                self._batcher.close(group)
            self.log.flush()
            self._state = DRAINING
            self._until_ms = now if self._reboot else now + DRAIN_MS
        if self._state == DRAINING and (now >= self._until_ms or not self.log.backlog()):
            self.kept.flush()
            self.log.close()
            for runner in self.runners:
                runner.link.close(now)
            self._state = DONE


def _load(name: str):
    """A module that the configuration names; nothing else takes heap."""
    return __import__("meuse_board." + name, None, None, ("x",))
