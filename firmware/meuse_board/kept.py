"""A few small integers that outlive a reboot: totals of meters, and which schema id means what in this stream.

Owns one file; refuses to know what a name means. What was put since the last flush is lost with the power.
"""

from binascii import crc32

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import pack, unpack

EVERY_MS = 60_000  # a write costs about one erase: once a minute wears a 64-block file system out in 12 years


class Kept:
    """`path` holds msgpack [name, value, name, value ...] and its CRC-32; littlefs replaces it whole or not at all."""

    def __init__(self, path: str):
        self._path = path
        self.values = {}
        self._changed = False
        self._due_ms = 0
        self.errors = 0
        try:
            with open(path, "rb") as f:
                data = f.read()
            if data and crc32(data[:-4]).to_bytes(4, "big") == data[-4:]:
                flat = unpack(data[:-4])
                self.values = {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}
        except (OSError, MeuseError):
            pass  # a new board, or a flash that does not answer

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
        if not self._changed:
            return
        flat = []
        for name, value in self.values.items():
            flat += [name, value]
        data = pack(flat)
        try:
            with open(self._path, "wb") as f:
                f.write(data + crc32(data).to_bytes(4, "big"))
            self._changed = False
        except OSError:
            self.errors += 1
