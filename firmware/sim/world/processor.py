"""The board's processor: one MicroPython process with a bounded heap, joined to the world by inherited descriptors.

Owns how it is started and where its output goes; why it starts and what becomes of it is board.py's.
"""

import asyncio
import ctypes
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

UART_BUFFER_BYTES = 2048  # the chip's transmit buffer, as near as the operating system allows
LOG_BYTES = 1_000_000  # board.log; one older one is kept
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before the fork


def heap_bytes(text: str) -> int:
    """ "96k" as a number of bytes; ValueError for anything else than digits and k or m."""
    found = re.fullmatch(r"(\d+)([kKmM]?)", text)
    if not found:
        raise ValueError(f"a heap is written like 96k, not {text!r}")
    return int(found[1]) << {"": 0, "k": 10, "m": 20}[found[2].lower()]


@dataclass(frozen=True)
class Image:
    """What runs: interpreter, heap in bytes, MICROPYPATH of the compiled firmware, first module and its arguments,
    which of the chip's UARTs the cable is on, and the image of a ROM file system."""

    micropython: str
    heap_bytes: int
    path: str
    module: str
    arguments: tuple[str, ...]
    uart: int
    rom: Path | None = None
    ports: tuple[tuple[int, int], ...] = ()  # more UARTs: number and the board's end, which outlives the board

    @property
    def memory_bytes(self) -> int:
        """The board's heap, and room for the image, which on a board lies in flash and costs no heap."""
        return self.heap_bytes + (self.rom.stat().st_size if self.rom else 0)


@dataclass(frozen=True)
class Ends:
    """The world's ends of what the process inherits."""

    wires: socket.socket
    uart: socket.socket


async def start(image: Image, folder: Path, lock_fd: int) -> tuple[asyncio.subprocess.Process, Ends]:
    """A board under power. The lock goes along: as long as the process lives, nobody else may use its flash."""
    wires, wires_inside = socket.socketpair()
    uart, uart_inside = socket.socketpair()
    uart_inside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UART_BUFFER_BYTES)
    inside = (wires_inside, uart_inside)
    for end in inside:
        end.setblocking(False)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "MICROPYPATH": image.path,
        "MEUSE_WIRES": str(wires_inside.fileno()),
        f"MEUSE_UART{image.uart}": str(uart_inside.fileno()),
        "MEUSE_ROM": str(image.rom),
        **{f"MEUSE_UART{number}": str(fd) for number, fd in image.ports},
    }
    words = ["-X", f"heapsize={image.memory_bytes}", "-m", image.module, *image.arguments]
    with _log(folder).open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            image.micropython,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=(*(end.fileno() for end in inside), *(fd for _, fd in image.ports), lock_fd),
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    for end in inside:
        end.close()
    return process, Ends(wires, uart)


def _log(folder: Path) -> Path:
    log = folder / "board.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(folder / "board.log.1")
    return log


def _die_with_parent() -> None:
    """In the child: when the world is killed the board's supply is gone at once (Linux; elsewhere at its next step)."""
    if _LIBC:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
