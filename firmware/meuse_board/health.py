"""The board's own channels: heap, resets, flash, log, link and sensor counters, as a group that needs no sensor.

Owns what is watched and the heap's low-water mark; refuses to know how a value travels.
"""

import gc


class Heap:
    """Free bytes after a collection (before one they mean nothing), and the lowest seen since boot."""

    def __init__(self):
        self.low = 1 << 29
        self.collect()

    def collect(self) -> None:
        gc.collect()
        self.free = gc.mem_free()
        self.low = min(self.low, self.free)


def readings(app) -> list:
    """One row, in the order of schemas.CHANNELS."""
    log, sampler = app.log, app.sampler
    links = [runner.link for runner in app.runners]
    return [
        app.clock.now() // 1000,
        app.clock.boot,
        app.cause,
        app.heap.low,
        log.backlog(),
        log.dropped + log.refused,
        log.flushes,
        log.errors + log.corrupt,
        sampler.errors + sampler.slow,
        sum([link.sent for link in links]),
        sum([link.received for link in links]),
        sum([link.damaged for link in links]),
    ]
