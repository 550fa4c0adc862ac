"""What a virtual board runs first: its flash, then the firmware as it is. Simulated: a real board begins at main.py.

Started by the world as `micropython -m start`; argv: deploy folder, flash file, blocks of flash. What is new in the
deploy folder is copied into the flash, as `make deploy` does by cable; what a technician set on the board stays.

The compiled firmware is an image that stands for the part of the flash a board maps into its memory (ROMFS); here it
has to lie in the heap, so the world gives so much more of it.
"""

import os
import sys

import vfs

FLASH = "/flash"
GRACE_MS = 10_000  # how long the world may be kept from answering by whatever else its machine does


def plug_in_rom():
    path = os.getenv("MEUSE_ROM")
    image = bytearray(os.stat(path)[6])  # in one piece: read() would leave holes in the heap
    with open(path, "rb") as f:
        f.readinto(image)
    vfs.mount(vfs.VfsRom(image), "/rom")
    sys.path[:] = ["/rom", ".frozen"]


def deploy(folder):
    """Copies each NAME.new, which then becomes NAME: cut off in between, it is copied again."""
    for new in os.listdir(folder):
        if new.endswith(".new"):
            with open(folder + "/" + new, "rb") as source:
                data = source.read()
            with open(FLASH + "/" + new[:-4], "wb") as f:
                f.write(data)
            os.rename(folder + "/" + new, folder + "/" + new[:-4])


def ready(app):
    """Joins the world's hands to the application: the wish to stop, and what the flash says of each meter."""
    import wires

    wires.on_stop = app.stop
    app.sampler.grace_ms = GRACE_MS
    for group in app.sampler.groups:
        for channel in group.settings["channels"]:
            if channel["driver"] == "pulse":
                name = channel["name"]
                wires.send(wires.NOTE, b"%s=%d" % (name.encode(), app.kept.get(name)))


def start():
    folder, path, blocks = sys.argv[1:4]
    plug_in_rom()
    import wires
    from flash import FileFlash, mount

    mount(FileFlash(path, int(blocks)), FLASH)
    deploy(folder)
    from meuse_board.main import run

    run(FLASH, 0, ((wires.pollable, wires.drain),), ready)


start()
