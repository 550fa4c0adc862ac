"""Where a PostgreSQL server is, as a URL says it, and how to connect; its errors in words."""

import importlib.util
import ssl
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from meuse.errors import ConfigError, HostError

if TYPE_CHECKING:
    from pg8000.native import Connection

ADVICE: Final = "for example postgresql://meuse:PASSWORD@db.local:5432/meuse"

# A server that says nothing for so long is given up, and tried anew.
ANSWER_S: Final = 30

SSL_MODES: Final = ("disable", "require", "verify-full")


class StoreError(HostError):
    """PostgreSQL is away, or refuses what it was asked."""


class Address(NamedTuple):
    """`socket`: path of a Unix socket, used instead of host and port where it is not empty."""

    host: str
    port: int
    socket: str
    user: str
    password: str
    database: str
    ssl: str  # one of SSL_MODES

    @property
    def shown(self) -> str:
        """For logs: no password."""
        where = self.socket or f"{self.host}:{self.port}"
        return f"{where}/{self.database}"


def parse(url: str, where: str) -> Address:
    """'postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full', or '?host=/folder' for a Unix socket.

    Raises ConfigError, which never shows the password.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or 5432
        query = dict(urllib.parse.parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigError(f"{where} is no address of a PostgreSQL server", ADVICE) from None
    folder = query.pop("host", "")
    port = int(query.pop("port", "") or port)
    mode = query.pop("sslmode", "disable")
    if parts.scheme not in ("postgresql", "postgres") or not (parts.hostname or folder) or query:
        raise ConfigError(f"{where} is no address of a PostgreSQL server", ADVICE)
    if mode not in SSL_MODES:
        raise ConfigError(f"{where}: sslmode={mode} is not known here", f"one of {', '.join(SSL_MODES)}")
    user = urllib.parse.unquote(parts.username or "") or "postgres"
    return Address(
        parts.hostname or "localhost",
        port,
        f"{folder}/.s.PGSQL.{port}" if folder else "",
        user,
        urllib.parse.unquote(parts.password or ""),
        urllib.parse.unquote(parts.path.strip("/")) or user,
        mode,
    )


def settled(url: str, password_file: str) -> Address:
    """The address of `[store]`, with the password that stands in a file; raises ConfigError."""
    address = parse(url, "store.url")
    if not password_file:
        return address
    try:
        return address._replace(password=Path(password_file).read_text(encoding="utf-8").strip("\r\n"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot read store.password_file {password_file}: {why}", "one line, the password"
        ) from error


def driver() -> None:
    """Raises ConfigError where the driver is not installed."""
    if importlib.util.find_spec("pg8000") is None:
        raise ConfigError("store.url needs a driver for PostgreSQL", "pip install 'meuse[postgres]'")


def connect(address: Address) -> "Connection":
    """A connection whose commits are durable before they return; raises StoreError."""
    from pg8000.exceptions import DatabaseError, InterfaceError
    from pg8000.native import Connection

    place: dict[str, object] = (
        {"unix_sock": address.socket} if address.socket else {"host": address.host, "port": address.port}
    )
    try:
        db = Connection(
            address.user,
            database=address.database,
            password=address.password or None,
            ssl_context=_secure(address.ssl),
            timeout=ANSWER_S,
            application_name="meuse",
            **place,
        )
        db.run("SET synchronous_commit = on")
        db.run("SET timezone = 'UTC'")
    except (DatabaseError, InterfaceError, OSError) as error:
        raise told(error, address) from error
    return db


def told(error: Exception, address: Address) -> StoreError:
    """The same error in words."""
    said = error.args[0] if error.args else error
    words = said.get("M", said) if isinstance(said, dict) else said
    return StoreError(f"PostgreSQL at {address.shown}: {words}", "check that it runs, and store.url")


def _secure(mode: str) -> ssl.SSLContext | None:
    if mode == "disable":
        return None
    context = ssl.create_default_context()
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
