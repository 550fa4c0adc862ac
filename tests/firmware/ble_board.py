"""A board on the bench with a Bluetooth radio in simulated air; its cable is a console."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.air import Air
from tests.host.hosts import ask
from tests.host.light_board import until

from .peer import DEFAULT, Board, Memory


class BleBoard(Board):
    """Real firmware on real MicroPython. The air moves while the test's event loop runs, so waiting is done there."""

    def __init__(self, folder: Path, path: str, micropython: str, air: Air, key: bytes | None, **link: object) -> None:
        folder.mkdir(exist_ok=True)
        self.radio = air.radio()
        counted = {"name": "flue", "unit": "Cel", "exp": -1, "driver": "table", "counts": True}  # no two are alike
        groups = [{**DEFAULT["groups"][0], "channels": [counted]}]
        links = [{"kind": "ble", **link}, *DEFAULT["links"]]
        super().__init__(folder, path, micropython, {**DEFAULT, "groups": groups, "links": links})
        if key:
            (folder / "key").write_bytes(key)

    def _spawn(self, cable: socket.socket) -> None:
        fds = [cable.fileno(), self.radio.there.fileno()]
        built = Path(self._path.split(":")[0]).with_name("mpy-sim") / "bluetooth.mpy"
        shims = self.folder / "shims"  # of those this one only: the bench has no machine
        shims.mkdir(exist_ok=True)
        shutil.copy(built, shims)
        environment = {
            **os.environ,
            "MICROPYPATH": f"{self._path}:{shims}",
            "MEUSE_UART0": str(fds[0]),
            "MEUSE_BLE": str(fds[1]),
        }
        command = [self._micropython, "-X", f"heapsize={self._heap}", "-m", "bench", str(self.folder)]
        with (self.folder / "stderr").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, pass_fds=fds, stdout=log, stderr=log)
        self.radio.there.close()

    async def till(self, what: Callable[[], Any], why: str, seconds: float = 60.0) -> None:
        def lives() -> Any:
            assert self.process is None or self.process.poll() is None, self.log()
            return what()

        await until(lives, why, seconds)

    async def ends(self) -> int:
        """Asks for an orderly end -> exit status."""
        assert self.process is not None
        process = self.process
        (self.folder / "stop").touch()
        await until(lambda: process.poll() is not None, "the board ends")
        self.process = None
        return int(process.returncode)

    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def stored(self, data: Path) -> list[Any]:
        """The readings in the journal, in order of their records; a record stored twice fails."""
        memory = Memory()
        rows = ask(data, "SELECT stream, seq, record FROM records")
        memory.records = {(stream, seq): record for stream, seq, record in rows}  # type: ignore[misc]
        assert len(memory.records) == len(rows)
        return memory.values(0)
