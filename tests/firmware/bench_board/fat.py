"""A memory card in a file, with MicroPython's own FAT on it; taken out while the file is away.

    micropython fat.py make IMAGE KILOBYTES | read IMAGE FOLDER | put IMAGE FILE
"""

import os
import sys

EIO = 5
SIZE = 512


class Blocks:
    """What vfs.mount wants of a card. Without the file every access ends in EIO, as when a card is pulled."""

    def __init__(self, path):
        self._path = path
        self.ioctl(4, 0)

    def _open(self):
        try:
            return open(self._path, "r+b")
        except OSError:
            raise OSError(EIO)

    def readblocks(self, block, data):
        with self._open() as f:
            f.seek(block * SIZE)
            f.readinto(data)

    def writeblocks(self, block, data):
        with self._open() as f:
            f.seek(block * SIZE)
            f.write(data)

    def ioctl(self, what, argument):
        if what == 4:
            with self._open() as f:
                return f.seek(0, 2) // SIZE
        return SIZE if what == 5 else 0


def main(what, image, argument):
    import vfs

    if what == "make":
        with open(image, "wb") as f:
            f.write(bytes(int(argument) * 1024))
        vfs.VfsFat.mkfs(Blocks(image))
        return
    vfs.mount(Blocks(image), "/card")
    if what == "put":
        copy(argument, "/card/" + argument.split("/")[-1])
    else:
        for name in os.listdir("/card"):
            copy("/card/" + name, argument + "/" + name)
    vfs.umount("/card")


def copy(source, target):
    with open(source, "rb") as f:
        with open(target, "wb") as to:
            to.write(f.read())


if __name__ == "__main__":
    main(*sys.argv[1:])
