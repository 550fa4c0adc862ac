"""The AT dialogue with a modem on a serial port: one command at a time; what the modem says on its own goes aside.

Owns the port's bytes and the rules of ITU-T V.250 and 3GPP TS 27.005; refuses to know what a message means.
"""

import asyncio
import os
from collections.abc import Callable

from meuse.links.serial import open_port

FAULTS = ("ERROR", "+CME ERROR", "+CMS ERROR")
BUFFER_BYTES = 4096  # a line of a message has 352; a port that says more without an end of line is no modem
WAKE_S = 1.0
WAKE_TRIES = 5
STARTED = ("RDY", "APP RDY")  # whatever was asked before is forgotten
CTRL_Z = b"\x1a"


class ModemLost(Exception):
    """The port is gone, or whoever is there does not answer."""


class Refused(Exception):
    """The modem's final result was an error; the text is that."""


class AtPort:
    """An open port. `unasked(line)` is told each line that belongs to no command, in order."""

    def __init__(self, path: str, baud: int, unasked: Callable[[str], None]) -> None:
        self._port = open_port(path, baud)
        self._fd = self._port.fileno()
        self._unasked = unasked
        self._in = bytearray()
        self._gone = False
        self._message = False  # the next line is one
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def close(self) -> None:
        if not self._gone:
            self._end()
        self._port.close()

    async def ask(self, command: str, seconds: float = 10.0, message: str = "") -> list[str]:
        """Sends a command -> its lines. message: sent, with Ctrl-Z, once the modem prompts for it."""
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(command, message.encode())
        except TimeoutError:
            raise ModemLost(f"no answer to {command}") from None

    async def answers(self) -> None:
        """Waits for a modem that is starting; raises ModemLost when none answers."""
        for attempt in range(WAKE_TRIES):
            try:
                await self.ask("\x1bAT", WAKE_S)  # ESC ends a prompt that waits
                return
            except ModemLost:
                if self._gone or attempt == WAKE_TRIES - 1:
                    raise

    async def listen(self, seconds: float) -> None:
        """Hands on what the modem says by itself, for so long at most or until wake()."""
        self._came.clear()
        self._hand_on()
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            return
        self._hand_on()

    def wake(self) -> None:
        self._came.set()

    async def _ask(self, command: str, message: bytes) -> list[str]:
        self._hand_on()
        await self._write(command.encode() + b"\r")
        found: list[str] = []
        while True:
            if message and self._in.lstrip(b"\r\n").startswith(b">"):
                del self._in[: self._in.index(b">") + 1]
                await self._write(message + CTRL_Z)
                message = b""
            line = self._line()
            if line is None:
                await self._more()
            elif self._message or line.startswith("+CMT:") or line in STARTED:
                self._pass_on(line)
            elif line == "OK":
                return found
            elif line.startswith(FAULTS):
                raise Refused(line)
            elif not line.startswith("AT"):  # echo
                found.append(line)

    def _hand_on(self) -> None:
        if self._gone:
            raise ModemLost("the port is gone")
        while (line := self._line()) is not None:
            self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        self._message = line.startswith("+CMT:")
        self._unasked(line)

    def _line(self) -> str | None:
        """The next line that is not empty."""
        while (end := self._in.find(b"\n")) >= 0:
            line = self._in[:end].decode("ascii", "replace").strip()
            del self._in[: end + 1]
            if line:
                return line
        return None

    async def _more(self) -> None:
        if self._gone:
            raise ModemLost("the port is gone")
        self._came.clear()
        await self._came.wait()

    async def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)
            except OSError as error:
                raise ModemLost(f"the port is gone: {error.strerror}") from error

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._in += data
        if not data or len(self._in) > BUFFER_BYTES * 2:
            self._end()
        self._came.set()

    def _end(self) -> None:
        self._gone = True
        asyncio.get_running_loop().remove_reader(self._fd)
