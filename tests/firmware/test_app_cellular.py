"""The application on real MicroPython behind a simulated modem, over a real TCP connection, to the real host."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.host.hosts import key_of, running
from tests.host.light_board import until

from .cellular import FAMILIES, Card, CellularBoard, complete, leads_to, on_air, product, records

Make = Callable[..., CellularBoard]


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Make]:
    made: list[CellularBoard] = []

    def one(family: str, **more: object) -> CellularBoard:
        key = key_of(tmp_path / "data", "bench-1")
        made.append(CellularBoard(tmp_path / "board", bench_path, micropython, product(family, **more), key))
        return made[-1]

    yield one
    for board in made:
        board.close()


@pytest.mark.link(
    "cellular",
    board="MicroPython, unix build",
    wire="simulated SIM7600 and BG95 on a socket pair as UART, TCP sockets on loopback",
    host="meuse run",
)
@pytest.mark.parametrize("family", FAMILIES)
def test_readings_arrive_whatever_happens_to_modem_network_and_host(make: Make, family: str, tmp_path: Path) -> None:
    """The network goes and comes, the modem restarts in mid-command and says ERROR, the host is stopped and started."""
    board = make(family, sim_pin="1234")
    data = tmp_path / "data"

    async def scene() -> None:
        async with on_air(board, family, Card(pin="1234")) as modem:
            async with running(data) as host:
                leads_to(modem, host)
                await until(lambda: records(host) >= 5, "readings through the modem")
                modem.lose_network()
                await until(lambda: not modem.connected, "the connection is gone")
                modem.find_network()
                modem.busy = 2
                await until(lambda: records(host) >= 15, "readings after the network was away")
                cut = asyncio.Event()

                def in_mid_command(command: str) -> None:
                    if "SEND" in command:
                        cut.set()

                modem.on_command = in_mid_command
                await until(cut.is_set, "data are being sent")
                modem.on_command = None
                await modem.reboot()
                await until(lambda: records(host) >= 25, "readings after a restart in mid-command")
            async with running(data) as host:
                leads_to(modem, host)
                await until(lambda: records(host) >= 5, "readings at a host that was away")
                assert "signal -79 dBm, good" in await board.typed("links", "cellular")
                assert await board.stopped() == 0
            assert modem.commands.count('AT+CPIN="1234"') == modem.reboots + 1, "once after each start"
            assert modem.connects >= 4

    asyncio.run(scene())
    complete(data, board)


def test_a_wrong_pin_takes_one_try_of_the_sim_and_no_more_whoever_is_reset(make: Make) -> None:
    board = make("bg95", sim_pin="4321")
    card = Card(pin="1234")

    async def scene() -> None:
        for _ in range(2):
            async with on_air(board, "bg95", card) as modem:
                await until(lambda: modem.commands.count("AT+CPIN?") >= 2, "it asks the SIM again")
                await modem.reboot()
                await until(lambda: modem.commands.count('AT+QPINC="SC"') >= 3, "and again")
                assert "WRONG PIN, not tried again" in await board.typed("links", "PROBLEM")
                board.kill()
        assert card.tries == 2
        card.enter("1234")  # in a phone
        assert card.tries == 3

    asyncio.run(scene())


def test_a_modem_without_sim_says_so_and_works_once_there_is_one(make: Make, tmp_path: Path) -> None:
    board = make("sim7600")

    async def scene() -> None:
        async with running(tmp_path / "data") as host, on_air(board, "sim7600", None) as modem:
            leads_to(modem, host)
            await until(lambda: modem.commands.count("AT+CPIN?") >= 2, "it asks for the SIM")
            assert "NO SIM" in await board.typed("links", "PROBLEM")
            modem.card = Card()
            modem.registers = False
            await until(lambda: modem.commands.count("AT+CREG?") >= 2, "it asks for a network")
            assert "not registered with a network, it refuses this SIM" in await board.typed("links", "PROBLEM")
            modem.registers = True
            await until(lambda: records(host) >= 2, "readings")

    asyncio.run(scene())


def test_a_modem_that_hangs_is_switched_off_and_on(make: Make, tmp_path: Path) -> None:
    board = make("bg95", power_key=7)
    key = board.folder / "pin.7"

    async def scene() -> None:
        async with running(tmp_path / "data") as host, on_air(board, "bg95", Card()) as modem:
            leads_to(modem, host)
            await until(lambda: records(host) >= 2, "readings")
            modem.silent = True
            await until(lambda: key.exists() and key.read_text() == "10", "it presses the power key")
            assert "answer" in await board.typed("links", "PROBLEM")
            await modem.reboot()
            before = records(host)
            await until(lambda: records(host) >= before + 2, "readings after all")

    asyncio.run(scene())
