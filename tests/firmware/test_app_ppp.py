"""The application on real MicroPython over a call of a simulated modem, handed to a stand-in for network.PPP."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.host.hosts import key_of, running
from tests.host.light_board import until

from .cellular import FAMILIES, SPEED, Card, CellularBoard, Modem, complete, leads_to, on_air, product, records

Make = Callable[..., CellularBoard]
DIAL = "ATD*99***1#"


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Make]:
    made: list[CellularBoard] = []

    def one(family: str, **more: object) -> CellularBoard:
        key = key_of(tmp_path / "data", "bench-1")
        settings = product(family, kind="ppp", **more)
        made.append(CellularBoard(tmp_path / "board", bench_path, micropython, settings, key))
        return made[-1]

    yield one
    for board in made:
        board.close()


def quick(modem: Modem) -> Modem:
    """The modem's second is the board's."""
    modem.guard_s = 1.0 / SPEED
    return modem


@pytest.mark.link(
    "cellular",
    board="MicroPython, unix build, network.PPP simulated (LCP frames, no IP)",
    wire="simulated SIM7600 and BG95 in data mode on a socket pair as UART, TCP sockets on loopback",
    host="meuse run",
)
@pytest.mark.parametrize("family", FAMILIES)
def test_readings_arrive_over_a_call_whatever_happens_to_it(make: Make, family: str, tmp_path: Path) -> None:
    """The network ends it in order, or without a word; the modem restarts while it dials; the host goes and comes."""
    board = make(family, sim_pin="1234")
    data = tmp_path / "data"

    async def scene() -> None:
        async with on_air(board, family, Card(pin="1234")) as modem:
            quick(modem)
            async with running(data) as host:
                leads_to(modem, host)
                await until(lambda: records(host) >= 5, "readings over the call")
                assert "cellular, by PPP: tcp to meuse.example:7878" in await board.typed("links", "cellular")
                modem.lose_network()
                await until(lambda: modem.commands.count(DIAL) >= 2, "it dials again")
                modem.find_network()
                before = records(host)
                await until(lambda: records(host) >= before + 3, "readings after the network was away")
                await restarts_when_it_dials(modem)
                before = records(host)
                await until(lambda: records(host) >= before + 3, "readings after a restart in mid-dial")
            async with running(data) as host:
                leads_to(modem, host)
                await until(lambda: records(host) >= 5, "readings at a host that was away")
                assert await board.stopped() == 0
            assert modem.commands.count('AT+CPIN="1234"') == modem.reboots + 1, "once after each start"
            assert not [one for one in modem.commands if "CIPOPEN" in one or "QIOPEN" in one], "TCP is the board's"

    asyncio.run(scene())
    complete(data, board)


async def restarts_when_it_dials(modem: Modem) -> None:
    dialled = asyncio.Event()

    def in_mid_dial(command: str) -> None:
        if command == DIAL:
            modem.delay_s = 60.0  # and no answer comes any more
            dialled.set()

    modem.on_command = in_mid_dial
    modem.lose_network()
    modem.find_network()
    await until(dialled.is_set, "it dials")
    modem.on_command = None
    modem.delay_s = 0.0
    await modem.reboot()


def test_a_call_that_died_without_a_word_and_a_board_that_was_reset_leave_nothing_stuck(
    make: Make, tmp_path: Path
) -> None:
    """The modem says NO CARRIER into a port that PPP reads; the board comes back while its call is still up."""
    board = make("bg95")
    data = tmp_path / "data"

    async def scene() -> None:
        async with running(data) as host, on_air(board, "bg95", Card()) as modem:
            leads_to(quick(modem), host)
            await until(lambda: records(host) >= 3, "readings over the call")
            modem.polite = False
            modem.lose_network()
            modem.find_network()
            await until(lambda: modem.calls >= 2 and modem.connected, "a second call")
            before = records(host)
            await until(lambda: records(host) >= before + 3, "readings over the second call")
            calls, escapes = modem.calls, modem.escapes
            board.kill()
            board.start_again()
            await until(lambda: modem.calls > calls, "a board that was reset dials")
            assert modem.escapes > escapes, "out of the call of the boot before"
            before = records(host)
            await until(lambda: records(host) >= before + 3, "readings of the boot after")

    asyncio.run(scene())


def test_a_wrong_pin_and_a_port_without_ppp_are_told_and_cost_nothing(make: Make) -> None:
    board = make("sim7600", sim_pin="4321")
    card = Card(pin="1234")

    async def scene() -> None:
        async with on_air(board, "sim7600", card) as modem:
            quick(modem)
            await until(lambda: modem.commands.count("AT+SPIC") >= 2, "it asks the SIM again")
            assert "WRONG PIN, not tried again" in await board.typed("links", "PROBLEM")
            assert card.tries == 2 and not modem.calls
            board.kill()
        (board.folder / "no_ppp").touch()
        board.start()
        assert "no network.PPP: leave out via" in await board.typed("status", "network.PPP")

    asyncio.run(scene())
