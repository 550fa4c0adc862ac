"""The board's own channels: heap, resets, flash, log, link and sensor counters, as a group like any other.

Owns the list of what is watched and the heap's low-water mark; refuses to know how a value travels.
"""

import gc

COUNTER, STATE = 1, 2
GROUP = "health"


class Gauge:
    """A driver whose sensor is the program itself."""

    def __init__(self, read):
        self._read = read

    def start(self, now: int) -> int:
        return 0

    def read(self, now: int) -> int:
        return self._read()


class Heap:
    """Free bytes after a collection (before one they mean nothing), and the lowest seen since boot."""

    def __init__(self):
        gc.collect()
        self.free = self.low = gc.mem_free()

    def collect(self) -> int:
        gc.collect()
        self.free = gc.mem_free()
        self.low = min(self.low, self.free)
        return self.free


def gauges(app) -> list:
    """[(settings of a channel, its driver)]; counts are since boot."""
    sampler, log, heap = app.sampler, app.log, app.heap
    rows = (
        ("uptime", "s", 0, lambda: app.clock.now() // 1000),
        ("boots", "count", COUNTER, lambda: app.clock.boot),
        ("reset_cause", "count", STATE, lambda: app.cause),
        ("heap_free", "B", 0, heap.collect),
        ("heap_low", "B", 0, lambda: heap.low),
        ("log_waiting", "count", 0, log.backlog),
        ("log_dropped", "count", 0, lambda: log.dropped + log.refused),
        ("flash_writes", "count", 0, lambda: log.flushes),
        ("flash_errors", "count", 0, lambda: log.errors + log.corrupt),
        ("rows", "count", 0, lambda: sampler.rows),
        ("sensor_errors", "count", 0, lambda: sampler.errors + sampler.slow),
        ("late", "count", 0, lambda: sampler.late),
        ("sent", "count", 0, lambda: sum([r.link.sent for r in app.runners])),
        ("received", "count", 0, lambda: sum([r.link.received for r in app.runners])),
        ("line_damage", "count", 0, lambda: sum([r.link.damaged for r in app.runners])),
    )
    return [({"name": n, "unit": u, "exp": 0, "flags": f}, Gauge(read)) for n, u, f, read in rows]
