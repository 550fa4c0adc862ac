"""The mobile network around a virtual board: a simulated modem at its UART 2, and for SMS another one for the host.

Both are of firmware/sim/modem, with real TCP behind them: a connection of the board's modem leads where the board wants
to go. The host's modem is a serial port, `<folder>/sms`. They have supplies of their own: the board may be reset.
"""

import asyncio
import os
import socket
import sys
import tty
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from modem.card import Card
from modem.centre import Centre
from modem.sim7600 import Sim7600

UART = 2  # as firmware/product.py gives it to links that stand in for a product's own
BOARD, HOST = "+31600000001", "+31600000002"
BOOT_S = 1.0
BUFFER_BYTES = 4096  # of the UART between board and modem


class Mobile:
    """`links`: kinds that the board has; `host`: name:port that a cellular link leads to."""

    def __init__(self, folder: Path, host: str, links: set[str]) -> None:
        self._port = folder / "sms"
        self._host = host
        self._links = links & {"cellular", "sms"}
        self._modems: list[Sim7600] = []
        self._switching: asyncio.Task[None] | None = None
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._terminal: tuple[int, int] | None = None
        self._port.unlink(missing_ok=True)
        if self._links:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)

    @property
    def ports(self) -> tuple[tuple[int, int], ...]:
        """The board's end of its modem's line."""
        return ((UART, self._ends[1].fileno()),) if self._ends else ()

    def begin(self) -> None:
        """In an event loop."""
        if self._ends is None:
            return
        centre = Centre()
        modem = Sim7600(self._ends[0].fileno(), Card(BOARD), centre)
        name, _, port = self._host.rpartition(":")
        modem.hosts[name, int(port)] = (name, int(port))
        self._modems = [modem]
        if "sms" in self._links:
            self._terminal = os.openpty()
            tty.setraw(self._terminal[1])
            os.set_blocking(self._terminal[0], False)
            self._port.symlink_to(os.ttyname(self._terminal[1]))
            self._modems.append(Sim7600(self._terminal[0], Card(HOST), centre))
        for one in self._modems:
            one.boot_s = BOOT_S
            one.switch_on()

    async def end(self) -> None:
        if self._switching:
            await asyncio.wait([self._switching])
        for one in self._modems:
            await one.close()
        self._port.unlink(missing_ok=True)
        for fd in self._terminal or ():
            os.close(fd)
        for end in self._ends or ():
            end.close()

    def network(self, there: bool) -> None:
        """The board's modem has reception, or has not; the host's always has."""
        for one in self._modems[:1]:
            if there:
                one.find_network()
            else:
                one.lose_network()

    def power(self, on: bool) -> None:
        """The supply of the board's modem."""
        if self._modems:
            self._switching = asyncio.create_task(self._switch(self._modems[0], on))

    @staticmethod
    async def _switch(modem: Sim7600, on: bool) -> None:
        if on and not modem.line.on:
            modem.switch_on()
        elif not on:
            await modem.switch_off()

    def status(self) -> dict[str, object]:
        """Counters of the board's modem; empty where there is none."""
        return {
            key: getattr(one, key) for one in self._modems[:1] for key in ("net", "connected", "connects", "delivers")
        }
