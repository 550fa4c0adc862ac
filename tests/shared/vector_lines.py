"""Reads tests/vectors/*.jsonl line by line on either runtime; a board's heap never holds a file."""

import gc
import json
import struct
from binascii import unhexlify

from meuse_protocol import bit_block

ON_A_BOARD = hasattr(gc, "mem_alloc")
if ON_A_BOARD:
    bit_block.TABLE_K = 2

FOLDER = __file__.rsplit("/", 1)[0] + "/../vectors/"


def lines(name):
    """One dict per line, emptied before the next one is read."""
    with open(FOLDER + name, "rb") as file:
        while True:
            line = file.readline()
            if not line:
                return
            vector = json.loads(line)
            line = None
            yield vector
            vector.clear()
            if ON_A_BOARD:
                gc.collect()


def real(x):
    """The object a vector's JSON stands for."""
    if isinstance(x, list):
        return [real(item) for item in x]
    if not isinstance(x, dict):
        return x
    if "bin" in x:
        return unhexlify(x["bin"])
    if "float" in x:
        return struct.unpack(">d", unhexlify(x["float"]))[0]
    return {key: real(item) for key, item in x["map"].items()}


class Dice:
    """Numbers that look random and are the same on both runtimes and in every run."""

    def __init__(self, seed):
        self._state = seed

    def below(self, n):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % n

    def bytes(self, n):
        return bytes([self.below(256) for _ in range(n)])
