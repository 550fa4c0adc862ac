"""Contacts and logic levels on pins: a door, a float switch, or several pins as one number (an error code).

Settings: `pins`, a list, the lowest bit first; `active` (0), the level that means 1; `pull_up` (true).
The channel's exp is 0. An open wire looks like an open contact: use a normally closed contact where that matters.
"""

from machine import Pin


class Driver:
    def __init__(self, bus, settings: dict, kept):
        pull = Pin.PULL_UP if settings.get("pull_up", True) else None
        self._pins = [Pin(number, Pin.IN, pull) for number in settings["pins"]]
        self._active = settings.get("active", 0)

    def start(self, now_ms: int) -> int:
        return 0

    def read(self, now_ms: int) -> int:
        value = 0
        for bit in range(len(self._pins)):
            if self._pins[bit].value() == self._active:
                value |= 1 << bit
        return value
