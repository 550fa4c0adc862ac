"""A host in the test's own process, on a folder of the test's own; and what its journal holds."""

import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from meuse.config import read_settings
from meuse.journal.database import FILE_NAME, open_reader
from meuse.keys import FOLDER, KeyStore
from meuse.run import Host

from tests.end_to_end.river import MEUSE


@asynccontextmanager
async def running(data: Path, **tables: object) -> AsyncIterator[Host]:
    """The real host on a free TCP port; stopped in order afterwards, without writing the lake."""
    tables.setdefault("tcp", {"listen": ["127.0.0.1:0"]})
    host = Host(read_settings({"host": {"data": str(data)}, **tables}, "test"))
    await host.start()
    try:
        yield host
    finally:
        await host.stop(finish_lake=False)


def key_of(data: Path, device: str) -> bytes:
    """The device's key, made as the host makes it."""
    keys = KeyStore(data / FOLDER)
    keys.provision(device)
    found = keys.keys(device)
    assert found
    return found[0]


def ask(data: Path, sql: str, *arguments: object) -> list[tuple[object, ...]]:
    """Rows from the journal, read as another process would."""
    db: sqlite3.Connection = open_reader(data / FILE_NAME)
    try:
        return db.execute(sql, arguments).fetchall()
    finally:
        db.close()


def stored(data: Path, stream: int) -> dict[int, bytes]:
    """seq -> record of a stream; each seq may be there once only."""
    rows = ask(data, "SELECT seq, record FROM records WHERE stream = ? ORDER BY seq", stream)
    found = {seq: record for seq, record in rows}
    assert len(found) == len(rows)
    return found  # type: ignore[return-value]


def events(data: Path) -> list[str]:
    """Kinds of all events, oldest first."""
    return [str(kind) for (kind,) in ask(data, "SELECT kind FROM events ORDER BY id")]


@contextmanager
def host_of(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A host in a process of its own, which a test that fails does not wait for."""
    with subprocess.Popen([str(MEUSE), "run", "--config", str(config)], stdout=subprocess.DEVNULL) as host:
        try:
            yield host
        except BaseException:
            host.kill()
            raise
