"""A board behind a simulated modem: the process, its console, the modem at its UART; used in an event loop."""

import copy
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from meuse.run import Host

from tests.host.hosts import ask, stored
from tests.host.light_board import until

from .peer import DEFAULT, Board, Memory
from .virtual import ROOT

sys.path.insert(0, str(ROOT / "firmware/sim"))
from modem.bg95 import Bg95
from modem.card import Card
from modem.centre import Centre
from modem.modem import Modem
from modem.sim7600 import Sim7600

HEAP = "256k"  # 60 kB of it is bytecode, which a board has in flash
SPEED = 5  # the board's clock; its readings are as much slower, and its waits for answers shorter
FAMILIES = {"sim7600": Sim7600, "bg95": Bg95}
HOST = ("meuse.example", 7878)


def product(family: str, **more: object) -> dict[str, Any]:
    """Readings over a cellular link and nothing else; the cable is a console."""
    settings: dict[str, Any] = copy.deepcopy(DEFAULT)
    link = {"kind": "cellular", "uart": 1, "family": family, "apn": "iot.example", "cost": 80, "carries": "all"}
    settings["links"] = [{**link, "host": HOST[0], "port": HOST[1], **more}, *settings["links"]]
    settings["groups"][0].update(period_ms=50 * SPEED, max_age_ms=200 * SPEED)
    return settings


class CellularBoard(Board):
    """The process; its UART 0 is a cable with a console, its UART 1 ends at a modem."""

    def __init__(self, folder: Path, path: str, micropython: str, settings: dict[str, Any], key: bytes) -> None:
        folder.mkdir()
        (folder / "speed").write_text(str(SPEED))
        (folder / "key").write_bytes(key)
        super().__init__(folder, path, micropython, settings, HEAP)

    def start(self) -> "CellularBoard":
        self.modem_end, self._uart = map(self._own, socket.socketpair())
        return self.start_again()

    def start_again(self) -> "CellularBoard":
        """Another boot at the same modem, which has noticed nothing."""
        self.socket, cable = map(self._own, socket.socketpair())
        self.spawn({"MEUSE_UART0": cable, "MEUSE_UART1": self._uart})
        cable.close()
        self.plug()
        return self

    async def typed(self, line: str, end: str) -> str:
        """Asks at the console; all text up to the line that holds `end`."""
        begin = len(self.text)
        self.send(line.encode() + b"\r")

        def answered() -> bool:
            self.poll(0)
            return any(end in text for text in self.text[begin:])

        await until(answered, f"{end!r} at the console")
        return "\n".join(self.text[begin:])

    async def stopped(self) -> int:
        """Asks for an orderly end while the modem goes on -> exit status."""
        process = self.process
        assert process
        (self.folder / "stop").touch()
        await until(lambda: process.poll() is not None, "the board ends")
        self.process = None
        return process.returncode


@asynccontextmanager
async def on_air(
    board: CellularBoard, family: str, card: Card | None, centre: Centre | None = None
) -> AsyncIterator[Modem]:
    """A modem at the board's UART, switched on with it."""
    board.start()
    modem = FAMILIES[family](board.modem_end.fileno(), card, centre)
    modem.switch_on()
    try:
        yield modem
    finally:
        await modem.close()


def leads_to(modem: Modem, host: Host) -> None:
    """From now on the name of the host is that of this one."""
    modem.hosts[HOST] = ("127.0.0.1", int(host.tcp[0].address.rpartition(":")[2]))


def records(host: Host) -> int:
    device = host.bridge.presences.devices.get("bench-1")
    return device.records if device else 0


def complete(data: Path, board: CellularBoard) -> None:
    """What the sensors gave is what is stored, in order, once; nothing was announced as lost."""
    ((stream,),) = ask(data, "SELECT stream FROM streams WHERE device = 'bench-1'")
    memory = Memory()
    for seq, record in stored(data, int(str(stream))).items():
        memory.records[int(str(stream)), seq] = record
    assert memory.values(0) == board.served("flue")
    assert len(memory.values(0)) >= 20
