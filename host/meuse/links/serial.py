"""Serial ports with hot plug: finds them, opens them without resetting a board, hands over bytes.

A port is named by path, by glob, or by the serial number of its USB adapter, so that a board that
comes back under another name is the same port. Both modem lines are asserted by opening and never
touched again; HUPCL is off, so that closing drops none. A lost port is closed at once.
"""

import asyncio
import errno
import glob
import logging
import os
import termios
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import serial
import serial.tools.list_ports

from meuse.links import Opened, Receiver

log = logging.getLogger(__name__)

KIND = "serial"
USB_PREFIX = "usb:"

# A plugged board is found within this time; one look costs a stat or a walk through sysfs.
LOOK_EVERY_S = 0.5

READ_BYTES = 16 * 1024

# Two seconds of the slowest usual line; beyond it the session sends nothing more.
WRITE_HIGH_BYTES = 4 * 1024


class SerialLink:
    """Keeps every port that matches `pattern` open; one receiver per port."""

    kind = KIND

    def __init__(self, pattern: str, baud: int, opened: Opened) -> None:
        self.pattern = pattern
        self._baud = baud
        self._opened = opened
        self._looking: asyncio.Task[None] | None = None
        self.ports: dict[str, _Port] = {}
        self._missing: dict[str, str] = {}  # path or pattern -> why, said once

    async def start(self) -> None:
        """Open what is there; what is not is looked for until closed."""
        await self._look()
        self._looking = asyncio.create_task(self._keep_looking(), name=f"look {self.pattern}")

    def stop_listening(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for port in list(self.ports.values()):
            port.close()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except Exception as error:  # whatever one look meets, the next may find a board
                self._miss(self.pattern, f"cannot be looked for: {error!r}")

    async def _look(self) -> None:
        paths = await asyncio.to_thread(matching, self.pattern)
        if not paths and not self.ports and not self._missing:
            self._missing[self.pattern] = ""
            log.info("%s %s: not there; waiting for it", self.kind, self.pattern)
        for path in set(self.ports) - set(paths):
            self.ports[path].close()  # a held port is not read, so nothing else would notice
        for path in paths:
            if path not in self.ports:
                self._open(path)

    def _open(self, path: str) -> None:
        try:
            port = _Port(path, self._baud, lambda: self._lost(path))
        except (OSError, ValueError, serial.SerialException, termios.error) as error:
            self._miss(path, _reason(path, error))
            return
        for name in (path, self.pattern):
            self._missing.pop(name, None)
        log.info("%s %s: open", self.kind, path)
        self.ports[path] = port
        port.start(self._opened(f"{self.kind}:{path}", self.kind, port))

    def _lost(self, path: str) -> None:
        del self.ports[path]
        self._miss(path, "lost; waiting for it")

    def _miss(self, path: str, why: str) -> None:
        """Say once what is wrong; again only when it changes or after the port was back."""
        if self._missing.get(path) != why:
            self._missing[path] = why
            log.warning("%s %s: %s", self.kind, path, why)


def matching(pattern: str, adapters: Callable[[], Iterable[Any]] = serial.tools.list_ports.comports) -> list[str]:
    """Paths of the ports that `pattern` names now, sorted; blocks for a look at the system.

    `adapters` lists what is plugged in, each with `device` (the path) and `serial_number`.
    """
    if pattern.startswith(USB_PREFIX):
        number = pattern[len(USB_PREFIX) :]
        return sorted(port.device for port in adapters() if port.serial_number == number)
    if glob.has_magic(pattern):
        return sorted(glob.glob(pattern))  # noqa: PTH207 - Path.glob refuses absolute patterns
    return [pattern] if Path(pattern).exists() else []


def _reason(path: str, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EACCES:
        return "no permission; add yourself to the group that owns it (dialout on Debian)"
    if code in (errno.EBUSY, errno.EAGAIN):
        return "in use by another program"
    return f"cannot be opened: {error}"


def open_port(path: str, baud: int) -> serial.Serial:
    """Open raw, 8N1, for us alone; raises OSError, SerialException, termios.error, or ValueError for the rate."""
    # pyserial asserts DTR and RTS as it opens (as the kernel has done already) and never again.
    port = serial.Serial(path, baud, timeout=0, exclusive=True)
    try:
        attributes = termios.tcgetattr(port.fileno())
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
    except BaseException:
        port.close()
        raise
    return port


class _Port:
    """One open port: a Wire towards the session."""

    packets = False

    def __init__(self, path: str, baud: int, lost: Callable[[], None]) -> None:
        self._serial = open_port(path, baud)
        self._fd = self._serial.fileno()
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._out = bytearray()
        self._held = False
        self._reading = False
        self._open = True

    def start(self, receiver: Receiver | None) -> None:
        self._receiver = receiver
        self._reading = True
        self.hold(self._held)

    def hold(self, held: bool) -> None:
        self._held = held
        if not self._open or not self._reading:
            return  # what was asked before the start is done at the start
        if held:
            self._loop.remove_reader(self._fd)
        else:
            self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # readable and empty: the device is gone
            self.close()
        elif self._receiver is not None:
            self._receiver.receive(data)

    @property
    def writable(self) -> bool:
        return self._open and len(self._out) < WRITE_HIGH_BYTES

    def write(self, data: bytes) -> None:
        if not self._open:
            return
        waiting = bool(self._out)
        self._out += data
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        was_writable = self.writable
        try:
            sent = os.write(self._fd, self._out) if self._out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._out[:sent]
        if self._out:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)
        if self.writable and not was_writable and self._receiver is not None:
            self._receiver.writable()

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._serial.close()
        self._lost()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost()
