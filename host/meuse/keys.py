"""The devices' keys: one file per device, readable by nobody else; knows no protocol.

A key file has one key per line in hexadecimal, the current one first, the previous one second; or the one word
`revoked`: then nobody speaks for that device, with or without a key, on any link.
A key is 32 random bytes, made here and nowhere else.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path

from meuse.errors import ConfigError

KEY_BYTES = 32

# Ids become topic levels, file names and column values: no dot, no slash, no space.
DEVICE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

FOLDER = "keys"
SUFFIX = ".key"
REVOKED = "revoked"


def check_device_id(device: str) -> str:
    """The id itself when it may be one; raises ConfigError."""
    if not DEVICE_ID.fullmatch(device):
        raise ConfigError(f"{device!r} is not a device id", "use 1 to 32 of a-z, 0-9 and -, not - first")
    return device


class KeyStore:
    """The folder of key files. A file that changes is read again at the next HELLO."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, int], list[bytes]]] = {}

    def path(self, device: str) -> Path:
        return self._folder / (check_device_id(device) + SUFFIX)

    def exists(self, device: str) -> bool:
        """Is there a key file, sound or not?"""
        return DEVICE_ID.fullmatch(device) is not None and self.path(device).exists()

    def devices(self) -> list[str]:
        """Ids of all devices that have a key, sorted."""
        names = [path.stem for path in self._folder.glob("*" + SUFFIX)]
        return sorted(name for name in names if DEVICE_ID.fullmatch(name))

    def keys(self, device: str) -> list[bytes] | None:
        """[current] or [current, previous], or None for a device without a key, or whose key is revoked."""
        if not DEVICE_ID.fullmatch(device):
            return None
        path = self.path(device)
        try:
            version = _version(path.stat())
        except OSError:
            self._read.pop(device, None)
            return None
        known = self._read.get(device)
        if known is None or known[0] != version:
            known = self._read[device] = (version, _parse(path))
        return known[1] or None

    def revoked(self, device: str) -> bool:
        """Has its key been taken from it?"""
        return self.exists(device) and not self.keys(device)

    def versions(self) -> dict[str, tuple[int, int]]:
        """device -> what changes whenever its key file does. Reads no file and changes nothing here: for any thread."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with contextlib.suppress(FileNotFoundError):
                        found[entry.name.removesuffix(SUFFIX)] = _version(entry.stat())
        return found

    def provision(self, device: str) -> Path:
        """The key file of `device`, made if there is none; an existing key is never replaced."""
        path = self.path(device)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            self._write(path, [secrets.token_bytes(KEY_BYTES).hex()])
        return path

    def rotate(self, device: str) -> Path:
        """A new current key; the one that was current stays valid as the previous one, unless it was revoked."""
        path = self.provision(device)
        self._write(path, [key.hex() for key in [secrets.token_bytes(KEY_BYTES), *_parse(path)[:1]]])
        return path

    def revoke(self, device: str) -> Path:
        """No key is valid any more, and none is kept; `rotate` makes a new one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path(device)
        self._write(path, [REVOKED])
        return path

    def _write(self, path: Path, lines: list[str]) -> None:
        """All of the file or nothing, on disk before this returns."""
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ino


def _parse(path: Path) -> list[bytes]:
    """Its keys; none of one that was revoked."""
    try:
        lines = path.read_text().split()
        if lines == [REVOKED]:
            return []
        keys = [bytes.fromhex(line) for line in lines]
    except (OSError, ValueError):
        keys = []
    if not 1 <= len(keys) <= 2 or any(len(key) != KEY_BYTES for key in keys):
        raise ConfigError(f"{path} is not a key file", "one or two lines of 64 hexadecimal digits")
    return keys
