"""A few small integers that outlive a reboot: totals of meters, and which schema id means what in this stream.

Owns one file; refuses to know what a name means. What was put since the last flush is lost with the power.
"""

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import pack, unpack

from .stored import load, save

EVERY_MS = 60_000  # each write programs flash: once a minute is what a small file system bears for ten years


class Kept:
    """`path` holds msgpack [name, value, name, value ...]."""

    def __init__(self, path: str):
        self._path = path
        self.values = {}
        self._changed = False
        self._due_ms = 0
        self.errors = 0
        try:
            flat = unpack(load(path) or b"\x90")
            self.values = {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}
        except (OSError, MeuseError):
            self.errors = 1  # a flash that does not answer

    def get(self, name: str) -> int:
        return self.values.get(name, 0)

    def put(self, name: str, value: int) -> None:
        if self.values.get(name) != value:
            self.values[name] = value
            self._changed = True

    def step(self, now: int) -> None:
        if self._changed and now >= self._due_ms:
            self._due_ms = now + EVERY_MS
            self.flush()

    def flush(self) -> None:
        if self._changed:
            flat = []
            for pair in self.values.items():
                flat += pair
            try:
                save(self._path, pack(flat))
                self._changed = False
            except OSError:
                self.errors += 1
