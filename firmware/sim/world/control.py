"""Hands that reach into the world while it plays: one JSON object a line over `<dir>/control`, one answer a line.

    {"do": "unplug"} {"do": "replug"}   the serial cable      {"do": "network", "on": false}   Wi-Fi, mobile
    {"do": "kill"}   power cut          {"do": "off"} {"do": "on"}   the supply of board and sensors
    {"do": "modem", "on": false}        the supply of the mobile modem
    {"do": "air", "on": false}          false: the LoRa radio hears half
    {"do": "trap", "pin": 26}           a power cut the moment the board drives this output high, once
    {"do": "noise", "bytes": 64, "to": "host", "seed": 1}     random bytes on the serial line, "to": also "board"
    {"do": "fault", "name": "flue-open", "on": true}          null: as the scenario's time window says
    {"do": "status"} {"do": "stop"}

An answer has "ok"; with false also "error".
"""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

NAME_BYTES = 100  # a socket's path may have 107
LINE_BYTES = 4096

COMMANDS = (
    "unplug", "replug", "noise", "network", "modem", "air", "kill", "off", "on", "fault", "trap", "status", "stop"
)

Handler = Callable[[dict[str, object]], dict[str, object]]


def send(folder: Path, timeout_s: float = 10.0, **command: object) -> dict[str, object]:
    """Sends one command to the world of the board in `folder`; for tests and tools."""
    path = folder / "control"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout_s)
        s.connect(os.readlink(path) if path.is_symlink() else str(path))
        s.sendall(json.dumps(command).encode() + b"\n")
        line = s.makefile().readline()
    answer: dict[str, object] = json.loads(line)
    return answer


class Control:
    """`handle(command)` returns what the answer says, or raises ValueError or KeyError for what cannot be done."""

    def __init__(self, folder: Path, handle: Handler) -> None:
        self._path = folder / "control"
        self._handle = handle
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        where = self._path
        if len(str(where)) > NAME_BYTES:
            where = Path(tempfile.mkdtemp(prefix="meuse-")) / "control"
            self._path.symlink_to(where)
        self._where = where
        self._server = await asyncio.start_unix_server(self._serve, where, limit=LINE_BYTES)

    def close(self) -> None:
        if self._server:
            self._server.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            if self._where != self._path:
                self._where.unlink(missing_ok=True)
                self._where.parent.rmdir()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # ValueError: a line beyond the limit
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            command = json.loads(line)
            if not isinstance(command, dict):
                raise ValueError("a command is a JSON object")
            return {"ok": True, **self._handle(command)}
        except (ValueError, KeyError) as e:
            return {"ok": False, "error": f"{type(e).__name__}: {e}"}
