"""MicroPython's `network` for a machine that already has one: an interface that is up as long as the world says so.

Simulated: joining, signal strength and addresses are the operating system's.
"""

import wires

STA_IF = 0


class WLAN:
    def __init__(self, interface=STA_IF):
        pass

    def active(self, on):
        pass

    def connect(self, ssid, key=None):
        pass

    def isconnected(self):
        return wires.call(wires.NETWORK)[0] == 1
