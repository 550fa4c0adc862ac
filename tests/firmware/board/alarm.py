"""Runs on a virtual board: the real main; in its first life the board stands still once an alarm is in its flash.

argv: flash file, folder with config.msgpack and secret.bin. Prints `alarm NUMBER OPERATIONS` when the flush that an
urgent record asked for is over: its number, and how many programs and erases the chip has completed. Nothing comes
after the last of them: whoever started the board takes its power away.
"""

import os
import sys

import machine
import wires
from flash import FileFlash, mount
from meuse_board.main import run

flash = FileFlash(sys.argv[1], 64)


def ready(app):
    wires.on_stop = app.stop
    if app.clock.boot > 1:
        return
    flush = app.log.flush

    def flushed():
        done = flush()
        if done:
            print("alarm", app.log.next_seq() - 1, flash.operations)
            while True:
                machine.reset_cause()
        return done

    app.log.flush = flushed


def start(folder):
    mount(flash, "/flash")
    for name in ("config.msgpack", "secret.bin"):
        if name not in os.listdir("/flash"):
            with open(folder + "/" + name, "rb") as source, open("/flash/" + name, "wb") as target:
                target.write(source.read())
    run("/flash", 0, ((wires.pollable, wires.drain),), ready)


start(sys.argv[2])
