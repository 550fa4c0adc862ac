"""A small file that must not be lost: two copies, each with a CRC, replaced one after the other.

Owns the copies `path` and `path`.2; refuses to know what they hold. A file is msgpack
[version, CRC-32 of the payload, payload]. A cut between any two operations of the flash leaves the old
payload or the new one. The PC writes the first copy alone; the second is made at the first load.
"""

import os
from binascii import crc32

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import pack, unpack

VERSION = 1


def load(path: str):
    """The payload, or None when no copy is whole. A copy that differs is made equal to the first."""
    for copy in (path, path + ".2"):
        payload = _read(copy)
        if payload is not None:
            try:
                save(path, payload)
            except OSError:
                pass  # a full or failing flash: one copy is enough to go on
            return payload
    return None


def save(path: str, payload: bytes) -> bool:
    """Makes both copies hold `payload` -> whether anything was written. OSError: flash refuses."""
    written = False
    for copy in (path, path + ".2"):
        if _read(copy) != payload:
            with open(path + ".new", "wb") as f:
                f.write(pack([VERSION, crc32(payload), payload]))
            os.rename(path + ".new", copy)
            written = True
    return written


def _read(path: str):
    try:
        with open(path, "rb") as f:
            version, crc, payload = unpack(f.read())
        if version == VERSION and crc32(payload) == crc:
            return payload
    except (OSError, MeuseError, ValueError, TypeError):
        pass  # missing, not msgpack, or something else in its place
    return None
