"""A small file that must not be lost: two copies, each with a CRC, replaced one after the other.

Owns the copies `path` and `path`.2; refuses to know what they hold. A file is msgpack
[version, CRC-32 of the payload, payload]. A cut between any two operations of the flash leaves the old
payload or the new one. The PC writes the first copy alone; the second is made by mend(). Files are checked
and copied in pieces: a board that runs has no heap for one as a whole.
"""

import os
from binascii import crc32

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import get, pack

VERSION = 1
PIECE = 64


def load(path: str):
    """The payload, or None when no copy is whole. A copy that differs is made equal to the first."""
    payload = read(path)
    mend(path)
    return payload


def read(path: str):
    """The payload, or None when no copy is whole. Writes nothing."""
    copy, size, at, _ = whole(path)
    if copy:
        try:
            with open(copy, "rb") as f:
                f.seek(at)
                return f.read(size)
        except OSError:
            pass
    return None


def whole(path: str):
    """(file, bytes of its payload, where it begins, its CRC) of the first copy that is whole; four times None: none."""
    for copy in (path, path + ".2"):
        found = _checked(copy)
        if found:
            return (copy,) + found
    return None, None, None, None


def mend(path: str) -> None:
    """A copy that differs from the first whole one is made equal to it."""
    copy, size, _, crc = whole(path)
    if copy:
        other = path + ".2" if copy == path else path
        found = _checked(other)
        if not found or found[0] != size or found[2] != crc:
            try:
                with open(copy, "rb") as f:
                    _write(other, path, _pieces(f))
            except OSError:
                pass  # a full or failing flash: one copy is enough to go on


def save(path: str, payload: bytes) -> bool:
    """Makes both copies hold `payload` -> whether anything was written. OSError: flash refuses, nothing has changed."""
    size, crc = len(payload), crc32(payload)
    written = False
    for copy in (path, path + ".2"):
        found = _checked(copy)
        if not found or found[0] != size or found[2] != crc:
            head = b"\x93" + pack(VERSION) + pack(crc) + b"\xc5" + size.to_bytes(2, "big")
            try:
                _write(copy, path, (head, payload))
            except OSError:
                if copy == path:
                    raise
                break  # the first copy stands; the next load makes the second
            written = True
    return written


def _pieces(f):
    piece = f.read(PIECE)
    while piece:
        yield piece
        piece = f.read(PIECE)


def _write(copy: str, path: str, pieces) -> None:
    with open(path + ".new", "wb") as f:
        for piece in pieces:
            f.write(piece)
    os.rename(path + ".new", copy)


def _checked(path: str):
    """(bytes of the payload, where it begins, its CRC), or None: missing, damaged, or something else in its place."""
    try:
        with open(path, "rb") as f:
            head = f.read(16)
            crc, at = get(head, 2, 1)
            width = 1 << head[at] - 0xC4
            at += 1 + width
            size = int.from_bytes(head[at - width : at], "big")
            f.seek(at)
            left, found = size, 0
            while left > 0:
                piece = f.read(min(left, PIECE))
                if not piece:
                    return None
                found = crc32(piece, found)
                left -= len(piece)
            if head[:2] == b"\x93\x01" and found == crc and not f.read(1):
                return size, at, crc
    except (OSError, MeuseError, ValueError, IndexError):
        pass
    return None
