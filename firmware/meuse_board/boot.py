"""Puts an App together of configuration, identity, hardware, time and randomness. A board gives it back after its boot.

settings, the product compiled by the PC (a dict that is taken apart; all keys optional):
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

Nothing of this module may outlive it: one function or lambda that the App kept would keep all of it.
"""

import os

from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import BLOB, BOOT, SCHEMA

from . import VERSION
from .batcher import Batcher
from .clock import Clock
from .flash_log import FlashLog
from .health import Heap
from .kept import Kept
from .loading import forget, load
from .runner import Runner
from .sampler import Group, Sampler
from .schemas import health_settings, name_groups, schema_of

KEPT = ("name", "unit", "exp", "flags", "deadband", "driver")  # of a channel, once its driver has read the rest
PROVE_MS = 60_000  # as in app.py
CRASH = 1  # BLOB subject: the traceback that ended the boot before
CUT_OFF_MS = 600_000  # nobody comes to switch a far board off and on: not reached for so long, it goes back by itself


def fill(app, settings: dict, psk, time, random_u32) -> None:
    """Everything that an App has, in the order in which the parts need each other."""
    app.firmware = "%s %s %s" % (VERSION, settings.get("product", "?"), settings.get("version", "?"))
    app.problems = []
    app.refused = None  # what the host said instead of a welcome
    app.log = FlashLog(app.root + "/log", random_u32, **settings.get("log", {}))
    app.kept = Kept(app.root + "/kept")
    app.log.before_flush = app.kept.flush  # a meter never goes back behind what it reported
    app.clock = Clock(time.ticks_ms, time.ticks_diff, app.log.boot_no)
    app.heap = Heap()
    app.cause = app.hardware.cause()
    app.reached = False  # a host welcomed this board, or a person typed
    app._watchdog_ms = settings.get("watchdog_ms", 0)
    app._prove_ms = PROVE_MS if settings.get("unproven") else None
    app._cut_off_ms = CUT_OFF_MS if settings.get("unproven") else None
    room = _links(app, settings.get("links") or [{"kind": "uart"}], psk, random_u32)
    _groups(app, settings)
    app.batcher = Batcher(app._groups, app.clock, room, app.append, app.log.next_seq)
    app.sampler.on_row = app.batcher.add
    app.append(BOOT, (app.clock.boot, app.cause, app.firmware))
    _announce(app)
    _tell_crash(app)


def _links(app, links: list, psk, random_u32) -> int:
    """Opens them, and gives each that carries records its endpoint; the bytes that a batch may have."""
    app.runners = []
    links = [one for one in links if _link(app, one, random_u32)]
    if app.problems and not any([hasattr(r.link, "console") for r in app.runners]):
        links.append({"kind": "uart"})  # the port of the board's own prompt: whoever comes to repair needs a way in
        _link(app, links[-1], random_u32)
    room = app.runners[0].link.mtu
    app.supervisor = None
    if len(links) > 1 or "cost" in links[0]:  # the compiler of products names it with all that is special
        app.supervisor, room = load("wiring").wire(app, links, psk, app.gmtime)
        forget("wiring")
    else:
        app.runners[0].endpoint = BoardEndpoint(app.device, app.log.stream, psk, app.log)
    app.endpoints = [runner.endpoint for runner in app.runners if runner.endpoint]
    for runner in app.runners:
        if psk is None and getattr(runner.link, "needs_key", False):
            app.problems.append("%s: no host believes a board without a key there" % runner.link.name)
    return room


def _link(app, settings: dict, random_u32) -> bool:
    kind = settings["kind"]
    if kind != "uart":
        settings["device"] = app.device  # a name on networks that have addresses for everybody
    try:
        link = load("links." + kind).Link(settings, app.hardware, random_u32)
        link.open(0)
    except Exception as problem:
        app.problems.append("link %s: %s" % (kind, problem))
        app._prove_ms = None  # such settings are not there to stay
        return False
    if hasattr(link, "console"):
        link.console = app.typed
    app.runners.append(Runner(link, app._event, random_u32))
    return True


def _groups(app, settings: dict) -> None:
    app.sampler = Sampler(app.clock)
    for one in settings.get("groups", ()):
        group = Group(one, [_driver(app, c) for c in one["channels"]])
        one["channels"] = [{k: c[k] for k in KEPT if k in c} for c in one["channels"]]
        app.sampler.groups.append(group)
    app._groups = app.sampler.groups[:]
    app._health = None
    app._health_at = settings.get("health_ms", 60_000)
    if app._health_at:
        app._health = Group(health_settings(app._health_at), [])
        app._groups.append(app._health)


def _driver(app, settings: dict):
    try:
        bus = app.hardware.bus(settings.get("bus"))
        return load("drivers." + settings["driver"]).Driver(bus, settings, app.kept)
    except Exception as problem:
        app.problems.append("channel %s: %s" % (settings["name"], problem))
        return load("missing").Missing()


def _announce(app) -> None:
    """Every group gets its schema id, and says what it means before its first use in this stream."""
    named = name_groups(app._groups, app.kept, app.log.stream)
    if len(named) < len(app._groups):
        app.problems.append("all schema ids of the stream are used: some channels are not read; erase the log")
    app._groups[:] = [group for group, _, _ in named]
    app.sampler.groups = [group for group in app._groups if group.drivers]
    for group, digest, new in named:
        app.endpoints[0].schemas.append([group.sid, digest])
        if new:
            app.append(SCHEMA, schema_of(group).to_body())


def _tell_crash(app) -> None:
    """What ended the boot before, as a record; its note goes when the record is on flash."""
    try:
        with open(app.root + "/crash.txt") as f:
            text = f.read()
        app.append(BLOB, (CRASH, None, text.encode()), True)
        if app.log.flush():
            os.remove(app.root + "/crash.txt")
    except (OSError, MemoryError):
        pass  # the boot before ended well
