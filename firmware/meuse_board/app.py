"""The board's application while it runs: one loop over everything, and what events mean for the log.

    app = App(settings, device, psk, hardware, time, random_u32)
    app.run()          until stop() and what follows it is done, or reboot

What settings may say, and how an App is put together of them, is in boot.py.
"""

import select

from meuse_protocol.board_endpoint import Acked, Time, Welcomed
from meuse_protocol.messages import ANCHOR

from .health import readings
from .loading import forget, load
from .schedule import next_due
from .typed import answer

SEARCH_BYTES = 4096  # of a damaged place in flash, read in one pass: a fraction of a second
DRAIN_MS = 10_000  # how long a stop waits for the host to store what is left
COLLECT_MS = 10_000  # a collection at a quiet moment, so that none is needed in the middle of a batch
NAP_MS = 100  # the longest sleep: watchdog, console and a stop want attention
QUIET_MS = 30  # writing flash stops the interrupts of an RP2, and bytes that arrive then are lost: so not while
LATEST_MS = 1000  # the host is talking, but at the latest after a second
RUNNING, STOPPING, DRAINING, DONE = range(4)
PROVE_MS = 60_000  # changed settings have to live so long, and be reached, before they are there to stay


class App:
    """`time` has ticks_ms, ticks_diff and gmtime; random_u32() gives 32 random bits; `root` holds the board's files.

    `problems` is for the technician: what of the settings does not work, and why.
    """

    def __init__(self, settings: dict, device: str, psk, hardware, time, random_u32, root: str = ""):
        self.device = device
        self.root = root
        self.hardware = hardware
        self.gmtime = time.gmtime
        self._state = RUNNING
        self._reboot = False
        self._collect_ms = self._tick_ms = 0
        load("boot").fill(self, settings, psk, time, random_u32)
        forget("boot", "log_boot", "schemas", "meuse_protocol.schema", "meuse_protocol", "links", "drivers")

    # -- records and events

    def append(self, kind: int, body, urgent: bool = False):
        """Puts a record into the log and tells the endpoint."""
        seq = self.log.append(kind, body, urgent)
        if seq:
            for endpoint in self.endpoints:
                endpoint.record_added(seq, urgent)

    def typed(self, link, line: bytes, typing: bool):
        """What the console answers, see typed.py; whoever types has reached this board."""
        said = answer(self, link, line, typing)
        self.reached = self.reached or bool(said)
        return said

    def _event(self, event, now: int) -> None:
        if isinstance(event, Time):
            self.clock.sync(event.offset_ms, event.err_ms)
            if event.anchor:
                self.append(ANCHOR, tuple(event.anchor) + (self.clock.boot,))
        elif isinstance(event, Welcomed):
            self.refused = None
            self.reached = True
        elif not isinstance(event, Acked):
            try:
                load("rare_events").handle(self, event, now)
            except MemoryError:
                pass  # the host asks again
            forget("rare_events", "schemas", "meuse_protocol.schema", "meuse_protocol")

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
        if self._health and self._state == RUNNING and now >= self._health_at:
            period_ms = self._health.settings["period_ms"]
            self._health_at = next_due(now, period_ms, self.clock.offset_ms or 0, now)
            self.batcher.add(self._health, now, readings(self), False)
        if self._prove_ms and now >= self._prove_ms and self.reached:
            self._prove_ms = None if load("config").prove(self.root, True) else now + PROVE_MS
            forget("config")
        if self._cut_off_ms and now >= self._cut_off_ms:
            self._cut_off_ms = None
            if not self.reached:
                load("config").prove(self.root, False)
                self.reboot()
        if self._state != RUNNING:
            self._wind_up(now)
        self.hardware.feed(self._watchdog_ms)
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
            self.hardware.reboot()

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
