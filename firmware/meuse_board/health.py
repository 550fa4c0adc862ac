"""The board's own channels: heap, resets, flash, log, link and sensor counters, as a group that needs no sensor.

Owns what is watched and the heap's low-water mark; refuses to know how a value travels.
"""

import gc

# Name, unit, flags (1: counter, 2: state). Counts are since boot.
CHANNELS = """uptime s 0
boots count 1
reset_cause count 2
heap_low B 0
log_waiting count 0
log_lost count 0
flash_writes count 0
flash_errors count 0
sensor_errors count 0
sent count 0
received count 0
line_damage count 0"""


def settings() -> dict:
    """Of the group, as the batcher wants them."""
    return {"name": "health", "tick_ms": 1000, "max_rows": 1, "channels": (), "schema": channels}


def channels() -> list:
    """(name, unit, exp, flags) of each; made when asked for."""
    rows = [line.split() for line in CHANNELS.split("\n")]
    return [(name, unit, 0, int(flags)) for name, unit, flags in rows]


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
    """One row, in the order of CHANNELS."""
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
