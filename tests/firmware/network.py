"""A board on the bench and a real host, joined by a network: `meuse run` as a process, and what its journal holds.

The board's cable is its console only; what it says there is what a technician would see.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meuse.keys import FOLDER, KeyStore

from tests.host.hosts import ask

from .peer import Board
from .virtual import ROOT, wait_for

MEUSE = str(Path(sys.executable).with_name("meuse"))
DEVICE = "bench-1"


class RealHost:
    """`meuse run` with these settings beside `data`; the device of the bench has a key."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.data = folder / "data"
        self._log = folder / "host.log"
        self._config = folder / "meuse.toml"
        self._config.write_text(f'[host]\ndata = "{self.data}"\n[tcp]\nlisten = []\n{settings}')
        keys = KeyStore(self.data / FOLDER)
        keys.provision(DEVICE)
        self.key = (keys.keys(DEVICE) or [b""])[0]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, listens: int) -> "RealHost":
        """Returns when its port answers."""
        with self._log.open("ab") as log:
            words = [MEUSE, "run", "--config", str(self._config)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT)
        wait_for(lambda: self._answers(listens), "the host listens", 40)
        return self

    def _answers(self, port: int) -> bool:
        assert self.process and self.process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def log(self) -> str:
        return self._log.read_text()

    def records(self) -> dict[tuple[int, int], bytes]:
        """(stream, seq) -> record, all that is durable; a number stored twice fails."""
        rows = ask(self.data, "SELECT stream, seq, record FROM records")
        found = {(stream, seq): record for stream, seq, record in rows}
        assert len(found) == len(rows)
        return found  # type: ignore[return-value]

    def stop(self) -> int:
        assert self.process
        self.process.terminate()
        status = self.process.wait(40)
        self.process = None
        return status

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def real_host(folder: Path, settings: str, port: int) -> Iterator[RealHost]:
    folder.mkdir(parents=True, exist_ok=True)
    host = RealHost(folder, settings)
    try:
        yield host.start(port)
    finally:
        host.kill()


class NetworkBoard(Board):
    """A board whose first link is `link`; what arrived is read from `host`'s journal."""

    def __init__(
        self, folder: Path, path: str, micropython: str, settings: dict[str, Any], link: dict[str, Any], host: RealHost
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = {**settings, "links": [link, *settings["links"]]}
        super().__init__(folder, path, micropython, self.settings)
        self.journal = host
        self._before = {stream for stream, _ in host.records()}  # of boards that were this device in other tests
        (folder / "key").write_bytes(host.key)

    def readings(self) -> list[Any]:
        """Values of the channel `flue` that the host has stored, in order."""
        found = self.journal.records()
        self.memory.records = {key: record for key, record in found.items() if key[0] not in self._before}
        return self.memory.values(0)

    def until_stored(self, count: int, seconds: float = 40.0) -> None:
        self.until(lambda: len(self.readings()) >= count, seconds)

    def links(self) -> str:
        """What the console says of the links, wrapped lines joined."""
        return self.ask("links", "console only")

    def complete(self) -> None:
        """After a stop: every reading that the sensor gave is stored, once, and no gap was announced."""
        assert self.readings() == self.served("flue")
        (stream,) = {stream for stream, _ in self.memory.records}
        assert ask(self.journal.data, "SELECT * FROM gaps WHERE stream = ?", stream) == []
