"""A connection to the PostgreSQL of the store, for a thread that waits; its errors in words.

The driver is asyncpg, on an event loop of the connection's own that runs only while a statement does.
"""

import asyncio
import contextlib
import importlib.util
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from meuse.errors import ConfigError, HostError

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

CONNECT_S: Final = 5.0
# A server that takes longer is given up, and tried anew.
ANSWER_S: Final = 30.0

# Addresses that no wire leads to.
HERE: Final = ("localhost", "127.0.0.1", "::1")

# A commit is durable before it returns, whatever the server's default is; nothing waits for a writer that vanished.
SESSION: Final = {
    "application_name": "meuse store",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "TimeZone": "UTC",
}


class StoreError(HostError):
    """PostgreSQL is away, or refuses what it was asked."""


class Address(NamedTuple):
    """Of `[store]`; `url` holds no password."""

    url: str
    password_file: str = ""
    ca: str = ""

    def __str__(self) -> str:
        return self.url

    def password(self) -> str | None:
        if not self.password_file:
            return None
        path = Path(self.password_file)
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"store.password_file: others may read {path}", f"chmod 600 {path}")
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"store.password_file: cannot read {path}", "write the password into it") from error

    def secure(self) -> ssl.SSLContext | bool:
        """TLS, and a certificate under the url's name, where the way leaves this machine and nothing else is said."""
        parts = urlsplit(self.url)
        if parts.query == "sslmode=disable" or (not parts.query and (parts.hostname or "") in HERE):
            return False
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise ConfigError(f"store.ca: cannot read {self.ca}: {error}", "name a PEM file") from error


def driver() -> None:
    """Raises ConfigError where the driver is not installed."""
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigError("store.url needs a driver for PostgreSQL", "pip install 'meuse[postgres]'")


class Connection:
    """Raises what asyncpg raises, see `errors`; and ConfigError from the address."""

    def __init__(self, address: Address) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._connection: asyncpg.Connection[Any] = self._wait(_connect(address))
        except BaseException:
            self._loop.close()
            raise

    def run(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """The rows of one statement; `$1` and so on stand for the arguments."""
        return [tuple(row) for row in self._wait(self._connection.fetch(sql, *arguments))]

    def change(self, sql: str) -> int:
        """How many rows a statement without arguments changed."""
        status: str = self._wait(self._connection.execute(sql))
        return int(status.rpartition(" ")[2])

    def copy(self, table: str, csv: Path) -> None:
        """COPY a file into a table."""
        self._wait(self._connection.copy_to_table(table, source=str(csv), format="csv"))

    def close(self) -> None:
        """Also when the other side is gone."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):
            self._wait(self._connection.close(timeout=1.0))
        self._connection.terminate()
        with contextlib.suppress(Exception):
            self._wait(asyncio.sleep(0))
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


async def _connect(address: Address) -> "asyncpg.Connection[Any]":
    import asyncpg

    return await asyncpg.connect(
        address.url.partition("?")[0],
        password=address.password(),
        timeout=CONNECT_S,
        command_timeout=ANSWER_S,
        server_settings=SESSION,
        ssl=address.secure(),
    )


def errors() -> tuple[type[Exception], ...]:
    """What may go wrong with a connection."""
    import asyncpg

    # The internal error is the driver's word for a connection that ended at a bad moment.
    return (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def told(error: Exception, address: Address) -> StoreError:
    """The same error in words."""
    why = str(error) or type(error).__name__
    return StoreError(f"{address}: {why}", "check that PostgreSQL runs there, and the settings of store")
