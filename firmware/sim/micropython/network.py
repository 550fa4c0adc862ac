"""MicroPython's `network` for a machine that already has one: an interface that is up as long as the world says so.

Simulated: joining, signal strength and addresses are the operating system's.
"""

import wires

STA_IF = 0


class WLAN:
    """As an RP2's: a station that lost its access point, or did not find it, stays out until connect() is called."""

    def __init__(self, interface=STA_IF):
        self._joined = False

    def active(self, on):
        pass

    def connect(self, ssid, key=None):
        self._joined = self._there()

    def disconnect(self):
        self._joined = False

    def status(self):
        return 3 if self._joined else -2  # CYW43_LINK_UP, _NONET

    def isconnected(self):
        self._joined = self._joined and self._there()
        return self._joined

    def ifconfig(self):
        return "127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1"

    def _there(self):
        return wires.call(wires.NETWORK)[0] == 1
