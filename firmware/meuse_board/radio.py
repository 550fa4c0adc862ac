"""The Wi-Fi: joined again and again, later each time; loaded by boards whose links name one.

Owns the radio; refuses to know what travels.
"""

import time

import network

JOIN_MS = 30_000  # a radio that has not joined by then is told again, ...
RETRY_MS = 5_000  # ... one that says itself that it gave up sooner; ...
LONGEST_JOIN = 10  # ... and each time later, up to so many times


class Radio:
    """OSError when the radio cannot be switched on."""

    def __init__(self):
        self._station = network.WLAN(network.STA_IF)
        self._station.active(True)
        self._joins = self._joining = 0  # attempts since the Wi-Fi was there, and when the last one began

    def joined(self, settings: dict) -> bool:
        """Whether it is on the network `ssid`; tells it to join where it is time to."""
        station, now = self._station, time.ticks_ms()
        if station.isconnected():
            self._joins = 0
            return True
        asked_ms = time.ticks_diff(now, self._joining)
        gave_up = station.status() < 0  # RP2; an ESP32 has other numbers, and is told by the time it takes
        if not self._joins or asked_ms >= (RETRY_MS if gave_up else JOIN_MS) * min(self._joins, LONGEST_JOIN):
            self._joins += 1
            self._joining = now
            try:
                station.disconnect()
                station.connect(settings["ssid"], settings.get("password"))
            except OSError:
                pass  # busy, or not joined: the next attempt comes
        return False

    def name_server(self):
        """(address, port), as the network named it."""
        return self._station.ifconfig()[3], 53
