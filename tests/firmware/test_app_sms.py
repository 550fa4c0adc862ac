"""Alarms by SMS: the application on real MicroPython, two simulated modems, a simulated SMS centre, the real host."""

import asyncio
import os
import pty
import tty
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from meuse.run import Host
from meuse_protocol.messages import DATA, HELLO, NEED, SINGLE, head

from tests.host.hosts import ask, key_of, running
from tests.host.light_board import until

from .cellular import SPEED, Card, CellularBoard, Centre, Sim7600, complete, leads_to, on_air, product, records

BOARD, OURS = "+31600000001", "+31600000002"
LIMIT = 300
ALARM = {DATA, SINGLE}
SMS = {"kind": "sms", "number": OURS, "uart": 1, "family": "sim7600", "cost": 100, "after_ms": 1000 * SPEED}


@pytest.fixture
def board(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[CellularBoard]:
    settings = product("sim7600")
    settings["links"].append(dict(SMS))
    settings["groups"][0]["channels"][0]["high"] = LIMIT
    board = CellularBoard(tmp_path / "board", bench_path, micropython, settings, key_of(tmp_path / "data", "bench-1"))
    yield board
    board.close()


@asynccontextmanager
async def at_host(centre: Centre, card: Card) -> Any:
    """A modem on a serial port, and the host's settings for it."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    modem = Sim7600(ours, card, centre)
    modem.switch_on()
    try:
        yield modem, {"port": os.ttyname(theirs), "numbers": [BOARD], "pin": card.pin or ""}
    finally:
        await modem.close()
        os.close(ours)
        os.close(theirs)


def alarm(board: CellularBoard, on: bool) -> None:
    board.values(flue=LIMIT + 50 if on else 215, water=4180)


def kinds(centre: Centre, sender: str) -> list[int]:
    return [head(data)[0] for who, _, data in centre.submitted if who == sender]


def counted(host: Host, name: str) -> int:
    return host.bridge.counters.get(name, 0)


@pytest.mark.link(
    "sms",
    board="MicroPython, unix build",
    wire="two simulated SIM7600 and a simulated SMS centre, every other message doubled",
    host="meuse run",
)
def test_an_alarm_that_no_other_link_brings_goes_by_sms_and_is_acknowledged(
    board: CellularBoard, tmp_path: Path
) -> None:
    """Only alarms go, the host asks once who this is, and all is there once when the network is back."""
    data, centre = tmp_path / "data", Centre(seed=4)
    centre.double = 0.5

    async def scene() -> None:
        async with (
            at_host(centre, Card(OURS, "4711")) as (_, sms),
            on_air(board, "sim7600", Card(BOARD), centre) as modem,
            running(data, sms=sms) as host,
        ):
            await until(lambda: modem.delivers, "the board's modem is ready")  # and leads nowhere
            alarm(board, True)
            await until(lambda: counted(host, "sms_sent") >= 2, "question and welcome")
            await until(lambda: records(host) >= 1, "the alarm")
            first = kinds(centre, BOARD)[:3]
            assert first[1] == HELLO and {first[0], first[2]} <= ALARM, "greeted when asked, and said again"
            assert kinds(centre, OURS)[0] == NEED
            assert "sent" in await board.typed("links", "messages today")
            alarm(board, False)
            before = records(host)
            centre.send("+31699999999", OURS, b"buy now", 0)
            centre.send("+31699999999", OURS, bytes(140))
            await until(lambda: counted(host, "sms_no_packet") and counted(host, "sms_strangers"), "strangers ignored")
            assert records(host) - before <= 1, "readings that are no alarm wait for another link"
            assert len(kinds(centre, BOARD)) <= 6
            leads_to(modem, host)
            await modem.reboot()  # it has failed so often that it would wait long before it dials again
            await until(lambda: records(host) >= 20, "readings over the network")
            assert await board.stopped() == 0

    asyncio.run(scene())
    complete(data, board)


def test_a_day_has_no_more_messages_than_allowed_across_crashes(board: CellularBoard) -> None:
    """Nobody answers; the board loses its supply after each alarm, and has another one."""
    settings = product("sim7600")
    settings["links"].append({**SMS, "per_day": 1})
    settings["groups"][0]["channels"][0]["high"] = LIMIT
    board.deploy(settings)
    centre = Centre()

    async def boot(used: int) -> None:
        async with on_air(board, "sim7600", Card(BOARD), centre) as modem:
            await until(lambda: modem.delivers, "the modem is ready")
            await board.typed("links", f"{used} of 1 messages today")
            alarm(board, True)
            await until(lambda: centre.submitted, "the message")
            enough = len(board.served("flue")) + 40 * used  # twice the time that an alarm waits for its message
            await until(lambda: len(board.served("flue")) >= enough, "time enough for another")
            assert "1 of 1 messages today" in await board.typed("links", "messages today")
            board.kill()
        alarm(board, False)

    asyncio.run(boot(0))
    asyncio.run(boot(1))
    assert len(centre.submitted) == 1


def test_the_hosts_modem_is_lost_and_found_and_its_pin_tried_once(tmp_path: Path, caplog: Any) -> None:
    data, centre = tmp_path / "data", Centre()

    async def scene() -> None:
        card = Card(OURS, "1234")
        async with at_host(centre, card) as (modem, sms), running(data, sms={**sms, "pin": "9999"}):
            await until(lambda: modem.commands.count("AT+SPIC") >= 2, "it asks the SIM again")
            assert card.tries == 2
            card.enter("1234")
        async with at_host(centre, card) as (modem, sms), running(data, sms=sms) as host:
            await until(lambda: modem.delivers, "the modem is ready")
            await modem.reboot()
            await until(lambda: modem.delivers, "and again")
            centre.send(BOARD, OURS, b"\x93\x12\x00\x00")
            await until(lambda: counted(host, "sms_received"), "a message")
        assert card.tries == 3
        assert modem.commands.count('AT+CPIN="1234"') == 2

    asyncio.run(scene())
    assert ask(data, "SELECT count(*) FROM records") == [(0,)]
    said = [record.message for record in caplog.records if record.name == "meuse.links.sms"]
    assert sum("started again" in line for line in said) == 1


