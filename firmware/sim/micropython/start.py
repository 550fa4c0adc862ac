"""What a virtual board runs first: its flash, then the firmware as it is. Simulated: a real board begins at main.py.

Started by the world as `micropython -m start`; argv: deploy folder, flash file, blocks of flash. At the first start
config.msgpack and secret.bin are copied from the deploy folder into the flash, as `make deploy` does by cable.
"""

import os
import sys

import wires
from flash import FileFlash, mount

FLASH = "/flash"


def deploy(folder):
    """Copies what the flash has not yet; what it has stays, as on a board that was deployed once."""
    for name in ("config.msgpack", "secret.bin"):
        if name not in os.listdir(FLASH) and name in os.listdir(folder):
            with open(folder + "/" + name, "rb") as source:
                data = source.read()
            with open(FLASH + "/" + name, "wb") as f:
                f.write(data)


def ready(app):
    """Joins the world's hands to the application: the wish to stop, and what the flash says of each meter."""
    wires.on_stop = app.stop
    for group in app.sampler.groups:
        for channel in group.channels:
            if channel.settings.get("driver") == "pulse":
                name = channel.settings["name"]
                wires.call(wires.NOTE, b"%s=%d" % (name.encode(), app.kept.get(name)))


def start():
    folder, path, blocks = sys.argv[1:4]
    mount(FileFlash(path, int(blocks)), FLASH)
    deploy(folder)
    from meuse_board.main import run

    run(FLASH, 0, ((wires.pollable, wires.drain),), ready)


start()
