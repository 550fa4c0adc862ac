"""Passwords stand in files that nobody else may read; knows none of them."""

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
