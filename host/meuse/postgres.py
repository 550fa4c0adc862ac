"""Where a PostgreSQL is and how it is reached safely, for journal and store alike; its driver, and what that raises."""

import ssl
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from meuse.errors import ConfigError
from meuse.secret_file import read_password

# Addresses that no wire leads to; none: a socket in the file system.
HERE: Final = ("", "localhost", "127.0.0.1", "::1")

# A commit is durable before it returns, whatever the server's default is, and whatever a process that vanished has
# open does not hold up the others for long.
SESSION: Final = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "TimeZone": "UTC",
}


class Address(NamedTuple):
    """Of the section `section`. `url` holds no password."""

    url: str
    password_file: str = ""
    ca: str = ""
    section: str = "journal"

    def __str__(self) -> str:
        return self.url

    def password(self) -> str | None:
        return read_password(self.password_file, f"{self.section}.password_file") if self.password_file else None

    def secure(self) -> ssl.SSLContext | bool:
        """TLS, and a certificate under the url's name, where the way leaves this machine and nothing else is said."""
        parts = urlsplit(self.url)
        if parts.query == "sslmode=disable" or (not parts.query and (parts.hostname or "") in HERE):
            return False
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise ConfigError(f"{self.section}.ca: cannot read {self.ca}: {error}", "name a PEM file") from error


def errors() -> tuple[type[Exception], ...]:
    """What the driver raises; ConfigError where it is not installed."""
    try:
        import asyncpg
    except ImportError as error:
        raise ConfigError("PostgreSQL needs asyncpg", "install Meuse with it: pip install 'meuse[postgres]'") from error
    # The internal error is the driver's word for a connection that ended at a bad moment.
    return (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
