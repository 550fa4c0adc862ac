"""Who may ask over HTTP: whoever knows the token of this host, for everything, and every backend, for its tenant."""

import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from meuse import secret_file
from meuse.access.register import Grant
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


class Tokens:
    """The host's own token, or USER:PASSWORD of a backend; `who_may`: whose that is (access.register)."""

    def __init__(self, own: TokenFile, who_may: Callable[[str], Grant | None]) -> None:
        self._own = own
        self._who_may = who_may

    def may(self, token: str) -> Permission | None:
        grant = self._who_may(token)
        return self._own.may(token) if grant is None else Permission(grant.tenant, grant.may_command)


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
    token = secrets.token_urlsafe(TOKEN_BYTES)
    secret_file.write(path, token + "\n")
    return token
