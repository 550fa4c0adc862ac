"""Pulse counter on a pin: water, gas, S0 meters. The value is the meter's index: what it showed when it was installed,
and every pulse since.

Settings: `pin`; `active` (0), the level of a pulse; `pull_up` (true); `debounce_ms` (10); `per_pulse` (1) and `index`
(0, the reading at installation), both in the channel's steps of 10**exp.
Source of the default: EN 62053-31 class A, a pulse and a pause last at least 30 ms each.

A pulse is an active time of at least `debounce_ms`, counted at its end: bounces and spikes are shorter. The total goes
on after a reboot. After a power cut it goes on from the one that was kept with the last flush of the log (a minute
before at most): never behind a record that outlived the cut, but perhaps behind one that was sent and not flushed.
Pulses that nobody counted are not made up.
"""

import time

from machine import Pin

LONG_MS = 60_000


class Driver:
    def __init__(self, bus, settings: dict, kept):
        self._name = settings["name"]
        self._kept = kept
        self._count = kept.get(self._name)
        self._per_pulse = settings.get("per_pulse", 1)
        self._index = settings.get("index", 0)
        self._active = settings.get("active", 0)
        self._debounce_ms = settings.get("debounce_ms", 10)
        self._pin = Pin(settings["pin"], Pin.IN, Pin.PULL_UP if settings.get("pull_up", True) else None)
        self._at = time.ticks_ms()
        self._level = self._pin.value()
        self._long = False  # at this level for longer than ticks can tell: they wrap after 6 days
        self._pin.irq(self._edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)

    def _edge(self, pin) -> None:
        """After any edge; the level before it is the one that was read after the last."""
        now = time.ticks_ms()
        if self._level == self._active and (self._long or time.ticks_diff(now, self._at) >= self._debounce_ms):
            self._count += 1
        self._long = False
        self._at = now
        self._level = pin.value()

    def start(self, now_ms: int) -> int:
        return 0

    def read(self, now_ms: int) -> int:
        if self._pin.value() != self._level:
            self._edge(self._pin)  # an edge was lost, in an erase of the flash for example
        elif time.ticks_diff(time.ticks_ms(), self._at) >= LONG_MS:
            self._long = True
        self._kept.put(self._name, self._count)
        return self._index + self._count * self._per_pulse
