"""A connection to the PostgreSQL of the store, for a thread that waits; its errors in words.

The driver is asyncpg, on an event loop of the connection's own that runs only while a statement does.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meuse import postgres
from meuse.errors import HostError
from meuse.postgres import Address

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

CONNECT_S: Final = 5.0
# A server that takes longer is given up, and tried anew.
ANSWER_S: Final = 30.0

SESSION: Final = {**postgres.SESSION, "application_name": "meuse store"}


class StoreError(HostError):
    """PostgreSQL is away, or refuses what it was asked."""


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


def told(error: Exception, address: Address) -> StoreError:
    """The same error in words."""
    why = str(error) or type(error).__name__
    return StoreError(f"{address}: {why}", "check that PostgreSQL runs there, and the settings of store")
