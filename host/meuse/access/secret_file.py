"""Files that only their owner may read: written whole or not at all, and never readable by others in between."""

import os
from pathlib import Path


def write(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Mode 600, on disk before this returns. owner: user and group it is given to, where we may."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        if owner is not None:
            os.fchown(file.fileno(), *owner)
    unfinished.replace(path)


def folder(path: Path) -> Path:
    """Made, with its parents, for its owner alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
