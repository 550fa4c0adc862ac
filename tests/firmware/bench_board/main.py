"""A board on the work bench: the real application on real MicroPython, with drivers of the test's choosing.

    micropython -X heapsize=96k main.py FOLDER     MICROPYPATH holds the compiled firmware, descriptor MEUSE_UART0 is the serial port

FOLDER holds config.json (a product as App takes it), values.json (channel -> value, [-q], null for never ready, a
string to raise it; read again at each reading) and the board's own files. FOLDER/stop, once there, stops it.
"""

import json
import os
import sys
import time


from meuse_board.app import App

folder = sys.argv[1]


def load(name):
    with open(folder + "/" + name) as f:
        return json.load(f)


class Driver:
    def __init__(self, bus, settings, kept):
        self._name = settings["name"]
        self._wait_ms = settings.get("wait_ms", 0)
        if settings.get("broken"):
            raise ValueError("no such pin")

    def start(self, now):
        return self._wait_ms

    def read(self, now):
        value = load("values.json").get(self._name, 0)
        if isinstance(value, str):
            raise OSError(value)
        return value


class Module:
    pass


module = Module()
module.Driver = Driver
sys.modules["meuse_board.drivers.table"] = module


class Bench:
    """Hardware as the application knows it, with a descriptor for a port."""

    def bus(self, name):
        return None

    def serial(self, settings):
        return open(int(os.getenv("MEUSE_UART%d" % settings["uart"])), "r+b", buffering=0)

    def pollable(self, port):
        return port

    def network(self, settings):
        return True

    def feed(self, timeout_ms):
        try:
            os.stat(folder + "/stop")
        except OSError:
            return
        os.remove(folder + "/stop")
        app.stop()

    def cause(self):
        return 1

    def reboot(self):
        sys.exit(7)


def random_u32():
    return int.from_bytes(os.urandom(4), "big")


secret = load("config.json").get("psk")
psk = bytes([int(secret[i : i + 2], 16) for i in range(0, len(secret), 2)]) if secret else None
app = App(load("config.json"), "bench-1", psk, Bench(), time, random_u32, folder)
app.run()
