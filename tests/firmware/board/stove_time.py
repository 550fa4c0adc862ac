"""A stove's board in the world's time: what it calls a second passes as fast as it can compute.

Real: the firmware from main.run on, its heap, littlefs. Simulated: wires, flash, and time, which the world is told and
answers with what happens next: nothing, the end, or a command as one arrives whose MAC was right.
argv: folder with config.msgpack, flash file.
"""

import os
import sys

STEP_MS = 250  # the longest sleep
LEFT_MS = 100_000_000  # until a command is late
NETWORK, NOTE = 15, 16  # of the wires


class Time:
    """Stands in for the module `time`."""

    now = 0

    def ticks_ms():
        return Time.now

    def ticks_diff(a, b):
        return a - b

    def ticks_add(a, b):
        return a + b

    def sleep_ms(ms):
        Time.now += ms

    def gmtime(seconds=0):
        return (2026, 1, 1, 0, 0, 0, 3, 1)


sys.modules["time"] = Time
import wires  # noqa: E402
from flash import FileFlash, mount  # noqa: E402

folder, flash = sys.argv[1:3]
mount(FileFlash(flash, 64), "/flash")
for name in ("config.msgpack", "secret.bin"):
    try:
        os.stat("/flash/" + name)
    except OSError:
        with open(folder + "/" + name, "rb") as source:
            data = source.read()
        with open("/flash/" + name, "wb") as target:
            target.write(data)

from meuse_board.drivers.application import told  # noqa: E402
from meuse_board.main import run  # noqa: E402
from meuse_protocol.messages import BLOB, RESULT  # noqa: E402
from meuse_protocol.msgpack import pack, unpack  # noqa: E402
from meuse_protocol.reactions import Command  # noqa: E402


def live(app):
    append = app.log.append

    def noted(kind, body, urgent=False):
        if kind in (BLOB, RESULT):
            wires.send(NOTE, pack([kind == RESULT] + list(body))[:255])
        return append(kind, body, urgent)

    app.log.append = noted
    while True:
        wake_ms = app.step()
        Time.now = max(Time.now + 1, min(wake_ms, Time.now + STEP_MS))
        seen = bytes((told.get("state", 255), told.get("cause", 255)))
        asked = wires.call(NETWORK, Time.now.to_bytes(4, "big") + seen)
        if asked == b"stop":
            return
        if len(asked) > 1:
            cid, op, arg = unpack(asked)
            app._event(Command(cid, [app.clock.boot, Time.now + LEFT_MS], op, arg), Time.now)


def ready(app):
    app.run = lambda also: live(app)
    for problem in app.problems:
        print(problem)


run("/flash", 0, (), ready, 0)
