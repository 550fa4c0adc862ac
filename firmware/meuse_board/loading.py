"""Modules that settings name, or that only a boot needs: loaded late, given back early; the others take no heap."""

import gc
import sys


def load(name: str):
    """The module meuse_board.`name`."""
    gc.collect()
    return __import__("meuse_board." + name, None, None, ("x",))


def forget(*names) -> None:
    """Gives back the heap of modules that are not needed any more: of meuse_board, or by their whole name."""
    for name in names:
        if not name.startswith("meuse_"):
            name = "meuse_board." + name
        if sys.modules.pop(name, None):
            package, _, own = name.rpartition(".")
            if package in sys.modules:
                delattr(sys.modules[package], own)
    gc.collect()
