"""Runs on a virtual board: the real main, whose application crashes in its first boot and tells of it in the second."""

import sys

import wires
from flash import FileFlash, mount
from meuse_board.main import run


def ready(app):
    if app.clock.boot == 1:
        raise ZeroDivisionError("on purpose")
    for seq in range(1, app.log.next_seq()):
        print(seq, app.log.get(seq))


mount(FileFlash(sys.argv[1], 64), "/flash")
run("/flash", 0, ((wires.pollable, wires.drain),), ready, 10)
