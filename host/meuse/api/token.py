"""Who may ask over HTTP. Today whoever knows the one token of this host; `Access` is all that others rely on."""

import hmac
import os
import secrets
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from meuse.errors import HostError

FILE: Final = "api.token"
TOKEN_BYTES: Final = 32


class Permission(NamedTuple):
    """What a token is good for."""

    tenant: str | None  # None: all of them
    may_command: bool


class Access(Protocol):
    def may(self, token: str) -> Permission | None:
        """None: nobody has this token."""


class TokenFile:
    """One token for everything, made at the first start, in a file that this user alone may read."""

    def __init__(self, data: Path) -> None:
        self._token = known(data) or _make(data / FILE)

    def may(self, token: str) -> Permission | None:
        same = hmac.compare_digest(token.encode(), self._token.encode())
        return Permission(None, True) if same else None


def known(data: Path) -> str:
    """The token; "" before the first start. Raises HostError."""
    path = data / FILE
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot read {path}: {error}", "remove it: another token is made at the next start") from error
    if len(token) < TOKEN_BYTES:
        raise HostError(f"{path} holds no token", "remove it: another is made at the next start")
    return token


def _make(path: Path) -> str:
    """Whole or not at all."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    unfinished.replace(path)
    return token
