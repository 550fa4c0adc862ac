"""A board on the work bench: the real application on real MicroPython, with sensors of the test's choosing.

    micropython -X heapsize=... -m bench FOLDER     MICROPYPATH: the compiled firmware; MEUSE_UART0: its serial port;
    MEUSE_BLE: its Bluetooth radio, where it has one

FOLDER holds config.msgpack, device (its id; bench-1 without), values.json (channel -> value, [-q], null for never
ready, a text to raise; read again at each reading), served.CHANNEL (what was read, in order), speed (how many times
faster its clock runs) and the board's own files. FOLDER/stop, once there, stops it; a reboot ends it with status 7.
"""

import json
import os
import sys
import time

import vfs
from fat import Blocks
from meuse_board.app import App
from meuse_board.config import Config
from meuse_board.main import random_u32

folder = sys.argv[1]


class Driver:
    """What values.json says."""

    def __init__(self, bus, settings, kept):
        self._name = settings["name"]
        self._wait_ms = settings.get("wait_ms", 0)
        self._kept = kept
        self._counts = settings.get("counts")
        if settings.get("broken"):
            raise ValueError("no such pin")

    def start(self, now):
        return self._wait_ms

    def read(self, now):
        with open(folder + "/values.json") as f:
            value = json.load(f).get(self._name, 0)
        if self._counts:
            value = self._kept.get(self._name) + 1
            self._kept.put(self._name, value)
        if isinstance(value, str):
            raise OSError(value)
        if value is not None:
            with open(folder + "/served." + self._name, "a") as f:
                f.write(json.dumps(value) + "\n")
        return value


class Table:
    """Stands for the module of a driver."""

    Driver = Driver


sys.modules["meuse_board.drivers.table"] = Table


class Slot:
    """Stands for meuse_board.card: FOLDER/card.img is the card, with MicroPython's own FAT on it."""

    def __init__(self, settings):
        self._folder = settings["folder"]

    def mount(self):
        vfs.mount(Blocks(folder + "/card.img"), self._folder)

    def unmount(self):
        vfs.umount(self._folder)


class Slots:
    """Stands for the module."""

    Card = Slot


sys.modules["meuse_board.card"] = Slots


class Spi:
    """A bus whose other end a test holds: a message is what to do (write, read, select) and how many or which."""

    def __init__(self, fd):
        self._port = open(fd, "r+b", buffering=0)

    def write(self, data):
        self._port.write(bytes((0, len(data))) + data)

    def read(self, size):
        self._port.write(bytes((1, size)))
        data = b""
        while len(data) < size:
            data += self._port.read(size - len(data)) or sys.exit(3)
        return data

    def select(self, level):
        self._port.write(bytes((2, level)))


spi = Spi(int(os.getenv("MEUSE_SPI"))) if os.getenv("MEUSE_SPI") else None


class Pin:
    """One of machine's for a board with ops: the bench's pins."""

    OUT = 1

    def __init__(self, number, mode, value):
        self._put = Bench().output(number)
        self._put(value)

    def value(self, level):
        self._put(level)


class Machine:
    """Stands for the module."""

    Pin = Pin


class Bench:
    """Hardware as the application knows it: descriptors for ports, a file for a watchdog."""

    def bus(self, name):
        return spi

    def serial(self, settings):
        """UART 0 is also what the board has without being told."""
        number = settings.get("uart", 0)
        if number > 1:
            raise ValueError("UART(%d) does not exist" % number)
        return open(int(os.getenv("MEUSE_UART%d" % number)), "r+b", buffering=0)

    def output(self, number):
        """A pin whose levels are noted, from the first to the last, in FOLDER/pin.NUMBER; 99 selects on the bus."""
        if number == 99:
            return spi.select

        def level(on):
            with open(folder + "/pin.%d" % number, "a") as f:
                f.write(str(on))

        return level

    def pollable(self, port):
        return port

    def network(self, settings):
        return True

    def name_server(self):
        try:
            with open(folder + "/name_server") as f:
                return "127.0.0.1", int(f.read())
        except OSError:
            return None

    def clock_at_least(self, day):
        with open(folder + "/clock", "w") as f:
            f.write("%d-%d-%d" % tuple(day))

    def feed(self, timeout_ms):
        try:
            os.remove(folder + "/stop")
        except OSError:
            return
        app.stop()

    def cause(self):
        return 1

    def reboot(self):
        sys.exit(7)


class Time:
    """The port's clock, made faster."""

    gmtime = time.gmtime
    ticks_diff = time.ticks_diff

    def __init__(self, speed):
        self._speed = speed

    def ticks_ms(self):
        return time.ticks_add(0, time.ticks_ms() * self._speed)


def clock():
    try:
        with open(folder + "/speed") as f:
            return Time(int(f.read()))
    except OSError:
        return time


def secret():
    try:
        with open(folder + "/key", "rb") as f:
            return f.read()
    except OSError:
        return None


def radio():
    """Where the bench has a Bluetooth radio or PPP, what a real one's interrupts would do."""
    if ppp:
        return ((ppp.pollable, ppp.drain),)
    if not os.getenv("MEUSE_BLE"):
        return ()
    import bluetooth

    return ((bluetooth.pollable, bluetooth.drain),)


def device():
    try:
        with open(folder + "/device") as f:
            return f.read()
    except OSError:
        return "bench-1"


ppp = None
config = Config(folder + "/config.msgpack")
if "no_ppp" not in os.listdir(folder) and [one for one in config.value["links"] if one["kind"] == "ppp"]:
    import point_to_point as ppp  # stands in for network and socket from here on
undone = config.begin()
if "ops" in config.value:
    sys.modules["machine"] = Machine
    from meuse_board.commands import Commanded as App
app = App(config.value, device(), secret(), Bench(), clock(), random_u32, folder)
if undone:
    app.problems.append("taken back: " + undone)
app.run(radio())
