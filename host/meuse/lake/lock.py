"""Who may touch the lake's files: one writer at a time; no file vanishes under a reader.

Locks are the kernel's (flock), so that they end with the process that holds them, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WRITER = ".writer.lock"
_READERS = ".readers.lock"


@contextmanager
def writing(folder: Path) -> Iterator[bool]:
    """True for the one process that may write now; OSError where nobody can."""
    with _locked(folder / _WRITER, fcntl.LOCK_EX | fcntl.LOCK_NB, must=True) as held:
        yield held


@contextmanager
def reading(folder: Path) -> Iterator[bool]:
    """While held, no file is taken away. False where locks cannot be had (a read-only disk)."""
    with _locked(folder / _READERS, fcntl.LOCK_SH) as held:
        yield held


@contextmanager
def replacing(folder: Path) -> Iterator[bool]:
    """True while no reader is at work; readers that come now wait for the end."""
    with _locked(folder / _READERS, fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
        yield held


@contextmanager
def _locked(path: Path, how: int, must: bool = False) -> Iterator[bool]:
    try:
        # Reading is enough for flock, so that those who may only read the lake can lock it too.
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError:
        if must:
            raise
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, how)
        except OSError as error:
            if must and not isinstance(error, BlockingIOError):
                raise
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
