"""What a virtual board runs first: flash, files, then the firmware as it is. Simulated: a real board has boot.py.

Started by the world as `micropython -m start`; argv: deploy folder, flash file, blocks of flash. At the first start
config.msgpack and secret.bin are copied from the deploy folder into the flash, as `make deploy` does by cable.
"""

import os
import sys

from flash import FileFlash, mount

FILES = ("config.msgpack", "secret.bin")


def deploy(folder):
    """Copies what the flash has not yet; what it has stays, as on a board that was deployed once."""
    have = os.listdir("/flash")
    for name in FILES:
        if name not in have and name in os.listdir(folder):
            with open(folder + "/" + name, "rb") as source:
                data = source.read()
            with open("/flash/" + name, "wb") as f:
                f.write(data)
