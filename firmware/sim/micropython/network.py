"""MicroPython's `network` for a machine that already has one: an interface that is up as long as the world says so."""

import wires

STA_IF, AP_IF = 0, 1


class WLAN:
    IF_STA, IF_AP = 0, 1

    def __init__(self, interface=0):
        pass

    def active(self, on=None):
        return True

    def connect(self, ssid=None, key=None, **options):
        pass

    def disconnect(self):
        pass

    def isconnected(self):
        return wires.call(wires.NETWORK)[0] == 1

    def status(self, what=None):
        return -40 if what == "rssi" else 3

    def config(self, *args, **kwargs):
        return None

    def ifconfig(self):
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")


LAN = WLAN


def hostname(name=None):
    return "simulated"
