"""The programs behind the host: one file per backend under `data/access/backends`, mode 600, without its password.

A backend belongs to one tenant and is called TENANT_NAME, which no device can be called: those have no `_`.
"""

import json
import re
from pathlib import Path
from typing import Final, NamedTuple

from meuse import secret_file
from meuse.access import passwords
from meuse.errors import ConfigError, HostError
from meuse.keys import DEVICE_ID

FOLDER: Final = "access"
BACKENDS: Final = "backends"
SUFFIX: Final = ".json"

USER: Final = re.compile(rf"({DEVICE_ID.pattern})_({DEVICE_ID.pattern})")


class Backend(NamedTuple):
    """`hashes`: of the current password and the previous one; none when it is revoked."""

    tenant: str
    name: str
    commands: bool
    hashes: tuple[str, ...]

    @property
    def user(self) -> str:
        return f"{self.tenant}_{self.name}"


class Backends:
    """The folder of them; what another process writes is seen at the next question."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER / BACKENDS
        self._read: dict[str, tuple[tuple[int, int], Backend]] = {}

    def path(self, user: str) -> Path:
        return self._folder / (user + SUFFIX)

    def of(self, user: str) -> Backend | None:
        """None for one that is not there; raises HostError for a file that makes no sense."""
        if not USER.fullmatch(user):
            return None
        path = self.path(user)
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_ino)
            known = self._read.get(user)
            if known is None or known[0] != version:
                known = self._read[user] = (version, _parse(path, user))
        except FileNotFoundError:
            self._read.pop(user, None)
            return None
        except OSError as error:
            raise HostError(f"cannot read {path}: {error}", "look at the disk, and at who may read it") from error
        return known[1]

    def all(self) -> list[Backend]:
        """Sorted by user; raises HostError."""
        users = sorted(path.name.removesuffix(SUFFIX) for path in self._folder.glob("*" + SUFFIX))
        return [backend for user in users if (backend := self.of(user)) is not None]

    def versions(self) -> dict[str, tuple[int, int]]:
        """user -> what changes whenever its file does; for any thread."""
        found = {}
        for path in self._folder.glob("*" + SUFFIX):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found[path.name.removesuffix(SUFFIX)] = (status.st_mtime_ns, status.st_ino)
        return found

    def add(self, tenant: str, name: str, commands: bool) -> str:
        """A new one -> its password, which is kept nowhere. Raises ConfigError."""
        for what, word in (("tenant", tenant), ("backend", name)):
            if not DEVICE_ID.fullmatch(word):
                raise ConfigError(f"{word!r} is no name of a {what}", "use 1 to 32 of a-z, 0-9 and -, not - first")
        backend = Backend(tenant, name, commands, ())
        if self.path(backend.user).exists():
            raise ConfigError(f"{backend.user} is there already", "rotate gives it another password")
        return self._renew(backend)

    def rotate(self, user: str) -> str:
        """Another password; the one that was current stays valid until the next time, unless it was revoked."""
        return self._renew(self._known(user))

    def revoke(self, user: str) -> None:
        """No password is valid any more."""
        self._write(self._known(user)._replace(hashes=()))

    def _known(self, user: str) -> Backend:
        backend = self.of(user)
        if backend is None:
            raise ConfigError(f"no backend is called {user!r}", "list them: meuse access list")
        return backend

    def _renew(self, backend: Backend) -> str:
        password = passwords.made()
        self._write(backend._replace(hashes=(passwords.hashed(password), *backend.hashes[:1])))
        return password

    def _write(self, backend: Backend) -> None:
        secret_file.folder(self._folder)
        secret_file.write(self.path(backend.user), json.dumps(backend._asdict(), indent=1) + "\n")


def _parse(path: Path, user: str) -> Backend:
    try:
        found = json.loads(path.read_text())
        backend = Backend(found["tenant"], found["name"], bool(found["commands"]), tuple(map(str, found["hashes"])))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"cannot read {path}: {error}", "remove it, and add the backend again") from error
    if backend.user != user:
        raise HostError(f"{path} is of {backend.user}", "remove it, and add the backend again")
    return backend
