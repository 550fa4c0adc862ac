"""Modules that settings name, or that only a boot needs: loaded late, given back early; the others take no heap."""

import gc
import sys


class Missing:
    """Stands in for a driver that could not be made: the device does not answer."""

    def start(self, now: int) -> int:
        return 0

    def read(self, now: int) -> list:
        return [-1]


def load(name: str):
    """The module meuse_board.`name`."""
    gc.collect()
    return __import__("meuse_board." + name, None, None, ("x",))


def forget(*names) -> None:
    """Gives back the heap of modules that are not needed any more."""
    package = sys.modules["meuse_board"]
    for name in names:
        if sys.modules.pop("meuse_board." + name, None):
            delattr(package, name)
    gc.collect()
