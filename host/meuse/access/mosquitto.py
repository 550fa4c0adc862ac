"""The same for Mosquitto: its password file, its ACL file and the lines of mosquitto.conf, kept up to date.

Told to read them again (SIGHUP), Mosquitto ends the connections of users whose password is gone or another, so that
is how a revocation takes effect. One password per user: after `rotate` the previous one does not hold here.
"""

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Final

from meuse import secret_file
from meuse.access import passwords
from meuse.access.register import Register
from meuse.access.rights import BOARDS, LINK, TOPICS, Rights

log = logging.getLogger(__name__)

PASSWORDS: Final = "meuse.passwords"
ACL: Final = "meuse.acl"
CONFIG: Final = "meuse.conf"
PID: Final = "mosquitto.pid"


class MosquittoFiles:
    """Of one folder: `update()` after anything changed, and until it says that all is done. Trouble is told once."""

    def __init__(self, folder: Path, register: Register, topics: Rights) -> None:
        self._folder = folder
        self._register = register
        self._topics = topics
        self._trouble = ""
        self._owed = False  # written, and not read by the server

    async def update(self) -> bool:
        """Write what is different, and let Mosquitto know. Not on the event loop: many boards take a second."""
        trouble = ""
        try:
            await asyncio.to_thread(self._update)
        except OSError as error:
            trouble = f"cannot update {self._folder}, or signal Mosquitto: {error.strerror or error}"
            if trouble != self._trouble:
                log.error("access: %s; until then nobody's access ends there", trouble)
        self._trouble = trouble
        return not trouble

    def _update(self) -> None:
        self._owed = write(self._folder, self._register, self._topics) or self._owed
        if self._owed:
            reload(self._folder)
            self._owed = False


def password_file(folder: Path, user: str) -> Path:
    """Of one of the host's users."""
    return folder / f"{user.removeprefix('_')}.password"


def own(folder: Path, user: str) -> str:
    """Its password, made at the first time."""
    path = password_file(folder, user)
    if not path.exists():
        secret_file.write(path, passwords.made() + "\n", _owner(folder))
    return path.read_text().strip()


def write(folder: Path, register: Register, topics: Rights) -> bool:
    """All files -> whether one has changed. They belong to whom the folder belongs, where we may say so."""
    secret_file.folder(folder)
    people: list[tuple[str, str, Rights]] = [
        (TOPICS, passwords.hashed(own(folder, TOPICS)), topics),
        (BOARDS, passwords.hashed(own(folder, BOARDS)), LINK),
    ]
    for user in register.names():
        entry = register.entry(user)
        if entry is not None:
            people.append((user, *entry))
    changed = [
        _put(folder / PASSWORDS, "".join(f"{user}:{hash}\n" for user, hash, _ in people)),
        _put(folder / ACL, "\n".join(_rules(user, may) for user, _, may in people)),
        _put(folder / CONFIG, _config(folder.absolute())),
    ]
    return any(changed)


def reload(folder: Path) -> bool:
    """Let the server read its files again -> whether one was there. Raises OSError when it is not ours to signal."""
    try:
        number = int((folder / PID).read_text())
        if Path(f"/proc/{number}/comm").read_text().strip() != "mosquitto":
            return False  # its number is another's by now
        os.kill(number, signal.SIGHUP)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    return True


def _rules(user: str, may: Rights) -> str:
    lines = [f"user {user}"]
    lines += [f"topic write {topic}" for topic in may.publish]
    lines += [f"topic read {topic}" for topic in may.subscribe]
    return "\n".join(lines) + "\n"


def _config(folder: Path) -> str:
    return f"""per_listener_settings true
listener 8883
# certfile ... and keyfile ... : without TLS everybody on the way reads the passwords
allow_anonymous false
use_username_as_clientid true
password_file {folder / PASSWORDS}
acl_file {folder / ACL}
pid_file {folder / PID}
message_size_limit 262144
"""


def _put(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    secret_file.write(path, text, _owner(path.parent))
    return True


def _owner(folder: Path) -> tuple[int, int] | None:
    """Root writes for somebody else: mosquitto.conf's `user` reads the files."""
    status = folder.stat()
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 and status.st_uid else None
