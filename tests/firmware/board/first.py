"""Runs on a virtual board: the real main; prints what happens at the board's pins, buses, ports and flash, in order.

argv: flash file, configuration that a PC compiled, perhaps the board's identity. One line `did WHAT` for each, in
board.log. An ESP32 can only read its pins 34 to 39 (its datasheet, section 2.2): this board's `machine` says so as that
port does.
"""

import sys

import machine
import wires
from flash import FileFlash, mount
from meuse_board.main import run

ONLY_READ = range(34, 40)


def did(*what):
    print("did", *what)


class Pin(machine.Pin):
    def __init__(self, id, mode=-1, pull=0, value=None):
        if mode == machine.Pin.OUT and id in ONLY_READ:
            raise ValueError("pin can only be input")
        did("pin", id, "is used" if value is None else "drives %d" % value)
        super().__init__(id, mode, pull, value)


def noted(name, opened):
    def open_it(*words, **named):
        did(name)
        return opened(*words, **named)

    return open_it


def start(path, *files):
    flash = FileFlash(path, 64)
    mount(flash, "/flash")
    for name, file in zip(("config.msgpack", "secret.bin"), files):
        with open(file, "rb") as source:
            data = source.read()
        with open("/flash/" + name, "wb") as target:
            target.write(data)
    flash.before = lambda kind, *_: did("flash")
    machine.Pin = Pin
    for name in ("I2C", "SPI", "UART", "WDT"):
        setattr(machine, name, noted(name, getattr(machine, name)))
    did("boot")
    run("/flash", 0, ((wires.pollable, wires.drain),))


start(*sys.argv[1:])
