"""The serial line of a simulated modem: echo, command lines, payloads after a prompt, replies; not their meaning.

Characters that arrive while the modem is off are lost, as are those that come before "AT" on a line.
"""

import asyncio
import contextlib
import os

ESC, CTRL_Z = b"\x1b", b"\x1a"


class Line:
    """`fd`: the modem's end of a socket pair or pty, non-blocking, ours to read until close()."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._in = bytearray()
        self._came = asyncio.Event()
        self.echo = True
        self.on = False
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)

    def reset(self) -> None:
        """Power-on: nothing was heard."""
        self._in.clear()
        self.echo = True

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self.on:
            self._in += data
            self._came.set()

    async def command(self) -> str:
        """The next command line, without what stood before its AT."""
        while True:
            line = await self._until(b"\r")
            if self.echo:
                self.write(line + b"\r")
            at = line.upper().find(b"AT")
            if at >= 0:
                return line[at:].decode("ascii", "replace").strip()

    async def payload(self, size: int) -> bytes:
        """That many bytes after a prompt."""
        self.write(b"\r\n> ")
        while len(self._in) < size:
            await self._more()
        return self._take(size)

    async def message(self) -> bytes | None:
        """What is typed after a prompt up to Ctrl-Z; None when ESC takes it back."""
        self.write(b"\r\n> ")
        while CTRL_Z not in self._in and ESC not in self._in:
            await self._more()
        text = self._take(min(at for at in (self._in.find(CTRL_Z), self._in.find(ESC)) if at >= 0))
        return text if self._take(1) == CTRL_Z else None

    async def some(self, within_s: float | None = None) -> bytes:
        """All that came, at least a byte of it unless wake() was called; b"" when the time is over."""
        if not self._in:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more(), within_s)
        return self._take(len(self._in))

    def wake(self) -> None:
        """Whoever waits for bytes looks at the world again."""
        self._came.set()

    def say(self, text: str) -> None:
        """A result code or information, as V.250 has it with words."""
        self.write(b"\r\n" + text.encode() + b"\r\n")

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, data)

    async def _until(self, end: bytes) -> bytes:
        while end not in self._in:
            await self._more()
        return self._take(self._in.index(end) + 1)[:-1]

    async def _more(self) -> None:
        self._came.clear()
        await self._came.wait()

    def _take(self, size: int) -> bytes:
        data = bytes(self._in[:size])
        del self._in[:size]
        return data
