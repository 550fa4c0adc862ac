"""Connections to a journal in PostgreSQL, and its errors in words; knows no tables.

The driver is asyncpg, on an event loop of each connection's own that runs only while a statement does: the parts of
the host speak to a database from a thread and wait. (pg8000 waits by itself, and committed batches at 40 % of the
speed: docs/storage.md.)
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from meuse import postgres
from meuse.errors import JournalBusy, JournalError
from meuse.invocation import meuse
from meuse.journal import postgres_tables
from meuse.postgres import Address

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

CONNECT_S = 5.0
# A statement that takes longer is an error that the caller answers: the commit queue keeps its batch. Readers may sort.
WRITE_S = 15.0
READ_S = 60.0

# Older ones miss what the tables use. Made for this one or later, run against 18.
OLDEST = 14

# The tables are found by name, whatever the server says of it.
SESSION = {**postgres.SESSION, "application_name": "meuse", "search_path": "public"}

# What leaves the connection sound: the same may be tried again.
AGAIN = ("40001", "40P01", "55P03")  # serialization, deadlock, lock timeout


class Result:
    """A Cursor over rows that are here already."""

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self.rowcount = rowcount
        self._rows = iter(rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def close(self) -> None:
        """Nothing is held."""


class _Loop(asyncio.SelectorEventLoop):
    """Remembers what it has opened: a connection that fails half way is closed by nobody else."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[asyncio.Transport] = []

    async def create_connection(self, *arguments: Any, **more: Any) -> Any:
        transport, protocol = await super().create_connection(*arguments, **more)
        self.opened.append(transport)
        return transport, protocol


class PostgresDatabase:
    """A Database. `reads`: every view and, outside of one, every statement ends at the horizon of that moment."""

    def __init__(self, address: Address, reads: bool, seconds: float) -> None:
        self._reads = reads
        self._loop = _Loop()
        self._elsewhere: ThreadPoolExecutor | None = None
        self.in_transaction = False
        try:
            self._connection: asyncpg.Connection[Any] = self._run(_connect(address, seconds))
        except BaseException:
            self._end_loop()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Result:
        if sql in _TRANSACTIONS:
            self._transaction(sql)
            return Result([], 0)
        if self._reads and not self.in_transaction:
            self.horizon()
        return self._run(self._fetch(numbered(sql), storable(parameters)))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        rows = [storable(row) for row in rows]
        if rows:
            self._run(self._fetch_many(numbered(sql), rows))

    def horizon(self) -> int:
        """From now on records up to this one are seen, and none that comes to be below it later."""
        row = self._run(self._connection.fetchrow("SELECT meuse_horizon()"))
        return int(row[0])

    def close(self) -> None:
        """Also when the other side is gone."""
        if not self._loop.is_closed():
            with contextlib.suppress(Exception):
                self._run(self._connection.close(timeout=1.0))
            self._connection.terminate()
            self._end_loop()
        if self._elsewhere is not None:
            self._elsewhere.shutdown()
            self._elsewhere = None

    def _end_loop(self) -> None:
        """Nothing of it stays open, whatever it was in the middle of."""
        for transport in self._loop.opened:
            transport.abort()
        for _ in range(5):
            self._run(asyncio.sleep(0))
        self._loop.close()

    @property
    def lost(self) -> bool:
        return self._loop.is_closed() or self._connection.is_closed()

    def _transaction(self, word: str) -> None:
        if word == "BEGIN" and self._reads:
            self.horizon()
        self._run(self._connection.execute(_TRANSACTIONS[word]))
        self.in_transaction = word.startswith("BEGIN")

    async def _fetch(self, sql: str, parameters: Sequence[Any]) -> Result:
        statement = await self._prepared(sql)
        rows = await statement.fetch(*parameters)
        return Result([tuple(row) for row in rows], _count(statement.get_statusmsg()))

    async def _fetch_many(self, sql: str, rows: list[Sequence[Any]]) -> None:
        await (await self._prepared(sql)).executemany(rows)

    @cached_property
    def _statements(self) -> dict[str, Any]:
        return {}

    async def _prepared(self, sql: str) -> Any:
        """The texts are the program's own, so there are only so many."""
        statement = self._statements.get(sql)
        if statement is None:
            statement = await self._connection.prepare(sql)
            if len(self._statements) < 500 and not sql.startswith(("CREATE", "DROP")):
                self._statements[sql] = statement
        return statement

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(work)
        if self._elsewhere is None:  # called on somebody's event loop, who means to wait
            self._elsewhere = ThreadPoolExecutor(1, "journal-connection")
        return self._elsewhere.submit(self._loop.run_until_complete, work).result()


_TRANSACTIONS = {
    "BEGIN": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "BEGIN IMMEDIATE": "BEGIN",
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
}


@lru_cache(1000)
def numbered(sql: str) -> str:
    """`?` as PostgreSQL numbers them; no statement here has a question mark in a text."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def storable(parameters: Sequence[Any]) -> Sequence[Any]:
    """What a board says may hold a NUL character, which no text of PostgreSQL does: `␀` stands for it."""
    if any(isinstance(one, str) and "\0" in one for one in parameters):
        return [one.replace("\0", "␀") if isinstance(one, str) else one for one in parameters]
    return parameters


def _count(status: str) -> int:
    """'INSERT 0 3', 'UPDATE 1'."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def _connect(address: Address, seconds: float) -> "asyncpg.Connection[Any]":
    import asyncpg

    connection = await asyncpg.connect(
        address.url.partition("?")[0],
        password=address.password(),
        timeout=CONNECT_S,
        command_timeout=seconds,
        statement_cache_size=0,
        server_settings=SESSION,
        ssl=address.secure(),
    )
    if connection.get_server_version().major < OLDEST:
        found = connection.get_server_version().major
        await connection.close()
        raise JournalError(f"{address} is PostgreSQL {found}, too old", f"use PostgreSQL {OLDEST} or later")
    return connection


def told(error: Exception, address: Address) -> JournalError:
    """The same error in words, with what to do next."""
    code = getattr(error, "sqlstate", None) or ""
    if code in ("28P01", "28000"):
        return JournalError(f"{address} refuses us: {error}", "check user and journal.password_file, and pg_hba.conf")
    if code == "3D000":
        return JournalError(f"{address}: {error}", "make it: createdb, with this user as its owner")
    if code == "42501":
        return JournalError(f"{address}: {error}", "make this user the owner of the database")
    if code in AGAIN:
        return JournalBusy(f"{address}: {error}", "another host is slow; it is tried again")
    if code.startswith("53"):
        return JournalError(f"{address} has no room: {error}", "free space or connections on the server")
    if code and not code.startswith(("08", "57")):
        return JournalError(f"{address}: {error}", f"{meuse('doctor')} says more; look at the server's log")
    why = str(error) or type(error).__name__
    return JournalError(f"{address} does not answer: {why}", "start PostgreSQL, or check journal.url and the network")


def open_reader(address: Address) -> PostgresDatabase:
    """A connection that sees no further than the oldest open transaction. Raises JournalError, ConfigError."""
    return _opened(address, True, READ_S, _check(address))


def open_writer(address: Address, seconds: float = WRITE_S) -> PostgresDatabase:
    """A connection that sees everything; JournalError, ConfigError."""
    return _opened(address, False, seconds, _see_all)


def _check(address: Address) -> Callable[[PostgresDatabase], None]:
    def ready(db: PostgresDatabase) -> None:
        db._reads = False
        postgres_tables.check(db, str(address), f"start a host on it: {meuse('run')}")
        db._reads = True

    return ready


def _see_all(db: PostgresDatabase) -> None:
    most = str(1 << 62)
    for name in ("records", "events", "gaps"):
        db.execute("SELECT set_config(?, ?, FALSE)", (f"meuse.{name}", most))


def _opened(
    address: Address, reads: bool, seconds: float, ready: Callable[[PostgresDatabase], None]
) -> PostgresDatabase:
    wrong = postgres.errors()
    try:
        db = PostgresDatabase(address, reads, seconds)
        try:
            ready(db)
        except BaseException:
            db.close()
            raise
        return db
    except wrong as error:
        raise told(error, address) from error
