"""Runs on a virtual board: the real main, whose application crashes in its first boot and tells of it in the second."""

import sys

import wires
from flash import FileFlash, mount
from meuse_board.main import run
from meuse_protocol.messages import BLOB

CRASH_MS = 6000  # longer than the watchdog's second, which the simulator makes four


def ready(app):
    if app.clock.boot == 1:
        app.kept.put("meter", 41)
        app.append(BLOB, (9, None, b"in RAM only"))
        app.hardware.feed(1000)
        raise ZeroDivisionError("on purpose")
    print("meter", app.kept.get("meter"))
    for seq in range(1, app.log.next_seq()):
        print(seq, app.log.get(seq))


mount(FileFlash(sys.argv[1], 64), "/flash")
run("/flash", 0, ((wires.pollable, wires.drain),), ready, CRASH_MS)
