"""Boards on the bench in a row: the cable of each leads to the next one, and the last one has the host.

Owns the cables (socket pairs, open on both ends whoever is plugged in) and the processes; real firmware throughout.
"""

import contextlib
import copy
import json
import os
import socket
import subprocess
from binascii import crc32
from pathlib import Path
from typing import Any

import msgpack
from meuse.keys import FOLDER, KeyStore
from meuse_protocol.received import RangeSet

from tests.host.hosts import ask

from .network import RealHost
from .peer import DEFAULT, Memory
from .virtual import wait_for

HEAP = "256k"  # here the modules are in it, and two links; on a board they run from ROM
SPEED = 6  # how many times faster the boards' clocks run


class Link:
    """One cable between two boards; what nobody reads waits in it."""

    def __init__(self) -> None:
        self.up, self.down = socket.socketpair()
        for end in (self.up, self.down):
            end.setblocking(False)

    def close(self) -> None:
        self.up.close()
        self.down.close()

    def put(self, data: bytes) -> None:
        """Onto the wire, as the board below writes it; what does not fit is lost."""
        with contextlib.suppress(BlockingIOError):
            self.down.send(data)


class Station:
    """One board. `ports`: number of a UART -> this board's end of a cable."""

    def __init__(
        self,
        folder: Path,
        device: str,
        host: RealHost,
        links: list[Any],
        ports: dict[int, socket.socket],
        more: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.device, self.host = folder, device, host
        self.process: subprocess.Popen[bytes] | None = None
        self._ports = ports
        folder.mkdir()
        settings = copy.deepcopy(DEFAULT) | {"links": links, "product": device} | (more or {})
        settings["groups"][0]["channels"][0]["counts"] = True  # every reading is another one
        payload = msgpack.packb(settings)
        (folder / "config.msgpack").write_bytes(msgpack.packb([1, crc32(payload), payload]))
        keys = KeyStore(host.data / FOLDER)
        keys.provision(device)
        (folder / "key").write_bytes((keys.keys(device) or [b""])[0])
        (folder / "device").write_text(device)
        (folder / "speed").write_text(str(SPEED))
        (folder / "values.json").write_text(json.dumps({"water": 4180}))

    def start(self, path: str, micropython: str) -> None:
        fds = {f"MEUSE_UART{number}": str(end.fileno()) for number, end in self._ports.items()}
        command = [micropython, "-X", f"heapsize={HEAP}", "-m", "bench", str(self.folder)]
        with (self.folder / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "MICROPYPATH": path, **fds},
                pass_fds=[end.fileno() for end in self._ports.values()],
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """An orderly end, once all that it has is stored."""
        assert self.process
        (self.folder / "stop").touch()
        assert self.process.wait(60) == 0, self.log()
        self.process = None

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def served(self) -> list[int]:
        path = self.folder / "served.flue"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def stored(self) -> list[int]:
        """Readings in the journal, in order, without those that are only a reason; a number stored twice fails."""
        memory = Memory()
        streams = {s for (s,) in ask(self.host.data, "SELECT stream FROM streams WHERE device = ?", self.device)}
        memory.records = {key: record for key, record in self.host.records().items() if key[0] in streams}
        return [value for value in memory.values(0) if isinstance(value, int)]

    def more(self, count: int = 20) -> None:
        """So many readings more are stored."""
        before = len(self.stored())
        wait_for(lambda: len(self.stored()) >= before + count, f"{self.device}: readings")

    def whole(self) -> bool:
        """Of every number that it used the host knows what became of it."""
        rows = ask(self.host.data, "SELECT received, gapped, next_seq FROM streams WHERE device = ?", self.device)
        for received, gapped, next_seq in rows:
            settled = RangeSet.from_bytes(bytes(received))  # type: ignore[arg-type]
            for first, last in RangeSet.from_bytes(bytes(gapped)).ranges():  # type: ignore[arg-type]
                settled.add_range(first, last)
            if settled.cum < int(str(next_seq)):
                return False
        return bool(rows)
