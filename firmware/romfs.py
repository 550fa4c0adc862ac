"""A read-only file system in one image, from which MicroPython runs .mpy files where they lie: bytecode and strings
stay in flash, and the heap holds only what changes. On a board the image goes into the `romfs` partition
(`mpremote romfs deploy`); a virtual board gets it as a block of memory.

Owns the format (MicroPython's extmod/vfs_rom.c, version 1); knows nothing of what the files hold.

    record   kind, length of payload (both variable-length integers, 7 bits a byte, most significant first), payload
    image    record of kind 0x14a6b1 whose payload is the records of the root folder
    folder   kind 4: length of name, name, records        file   kind 5: length of name, name, record of kind 2: content
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

IMAGE, CONTENT, FOLDER, FILE = 0x14A6B1, 2, 4, 5
Tree = dict[str, "Tree | bytes"]


def image(files: dict[PurePosixPath, bytes]) -> bytes:
    """The image of a tree of files, in order of their names."""
    root: Tree = {}
    for path, content in files.items():
        folder = root
        for part in path.parts[:-1]:
            below = folder.setdefault(part, {})
            assert isinstance(below, dict), path
            folder = below
        folder[path.name] = content
    return _record(IMAGE, _records(root))


def read(folders: Iterable[Path], pattern: str = "*.mpy") -> dict[PurePosixPath, bytes]:
    """The files of several folders, as one tree."""
    return {
        PurePosixPath(file.relative_to(folder)): file.read_bytes()
        for folder in folders
        for file in sorted(folder.rglob(pattern))
    }


def _records(tree: Tree) -> bytes:
    out = b""
    for name, what in sorted(tree.items()):
        head = _number(len(name.encode())) + name.encode()
        if isinstance(what, bytes):
            out += _record(FILE, head + _record(CONTENT, what))
        else:
            out += _record(FOLDER, head + _records(what))
    return out


def _record(kind: int, payload: bytes) -> bytes:
    return _number(kind) + _number(len(payload)) + payload


def _number(n: int) -> bytes:
    out = [n & 0x7F]
    while n := n >> 7:
        out.append(0x80 | n & 0x7F)
    return bytes(reversed(out))
