"""Files that only their owner may read: written whole or not at all, never readable by others in between, and checked.

Knows no secret's meaning.
"""

import os
from pathlib import Path

from meuse.errors import ConfigError

# Where containers find what they are handed: files there belong to whoever runs the container.
HANDED_IN = Path("/run/secrets")

# Anyone at all, or a group that could change it. A group may read: so a container's user comes by its secrets.
OTHERS = 0o037


def read_password(name: str, where: str) -> str:
    """The one line of the file `name`; ConfigError that names the setting `where` and the remedy."""
    path = Path(name)
    try:
        if path.stat().st_mode & OTHERS and not path.is_relative_to(HANDED_IN):
            raise ConfigError(f"{where}: others may read {path}", f"chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{where}: cannot read {path}: {why}", "write the password into it, one line") from error


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
