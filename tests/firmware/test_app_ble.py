"""Boards and the host joined by simulated air: pieces are lost, connections end in the middle of a frame.

Real firmware on real MicroPython, the host's own link and journal; simulated are sensors and the whole GATT layer.
"""

import asyncio
from pathlib import Path

import pytest
from meuse.links.ble import TX, BleLink
from meuse.run import Host
from meuse.settings import BleSettings
from meuse_protocol.received import RangeSet

from tests.air import Air, Client
from tests.host.hosts import ask, key_of, running

from .ble_board import BleBoard

SEED = 7
LOSS = 0.1
COUNT = 40


async def link_of(host: Host, air: Air, **settings: object) -> BleLink:
    """The host's link in this air."""
    link = BleLink(BleSettings(**settings), host.bridge.opened, air, host.bridge.count)  # type: ignore[arg-type]
    assert host.listening
    await host.listening._start_link(link)
    return link


@pytest.mark.link(
    "ble",
    board="MicroPython, unix build",
    wire="simulated GATT: 10 % of all notifications and writes lost, MTU 23 and 247, disconnects",
    host="the host in process",
)
@pytest.mark.parametrize("mtu", [23, 247])
def test_every_reading_is_stored_once_though_pieces_are_lost_and_connections_end(
    tmp_path: Path, bench_path: str, micropython: str, mtu: int
) -> None:
    data = tmp_path / "data"

    async def scene() -> None:
        air = Air(SEED, LOSS, mtu)
        async with running(data) as host:
            board = BleBoard(tmp_path / "board", bench_path, micropython, air, key_of(data, "bench-1"))
            try:
                await link_of(host, air, devices=["bench-1"])
                board.start()
                await board.till(lambda: len(board.stored(data)) >= COUNT, "readings through lossy air")
                for cut in range(2):
                    before = len(board.stored(data))
                    board.radio.cuts = True
                    await board.till(lambda cut=cut: air.counts["connects"] >= cut + 2, "a new connection")
                    await board.till(lambda before=before: len(board.stored(data)) >= before + COUNT, "more readings")
                air.loss = 0.0  # a stop waits 10 s for what is left, and no longer
                assert await board.ends() == 0
            finally:
                board.close()
                air.close()
        served = board.served("flue")
        assert len(served) >= 3 * COUNT
        assert board.stored(data) == served
        assert board.radio.longest <= mtu - 3
        assert air.counts["lost"] >= 5
        print(f"MTU {mtu}: {dict(air.counts)}, {len(served)} readings, pieces of at most {board.radio.longest} bytes")

    asyncio.run(scene())
    ((received, gapped, next_seq),) = ask(data, "SELECT received, gapped, next_seq FROM streams")
    assert RangeSet.from_bytes(received).ranges() == [(1, next_seq - 1)]  # type: ignore[arg-type,operator]
    assert RangeSet.from_bytes(gapped).ranges() == []  # type: ignore[arg-type]


def test_a_backlog_waits_for_the_radio_and_a_central_that_says_nothing_makes_way(
    tmp_path: Path, bench_path: str, micropython: str
) -> None:
    """Half a minute of silence is three seconds here: the board's clock runs ten times as fast."""
    data = tmp_path / "data"

    async def scene() -> None:
        air = Air(SEED, mtu=23, interval_s=0.05)
        async with running(data) as host:
            board = BleBoard(tmp_path / "board", bench_path, micropython, air, key_of(data, "bench-1"))
            (board.folder / "speed").write_text("10")
            try:
                board.start()
                await board.till(lambda: board.radio.advertises, "it is to be seen")
                gone: list[Client] = []
                phone = air.BleakClient(board.radio, gone.append, timeout=1)
                await phone.connect()
                await phone.start_notify(TX, lambda characteristic, data: None)
                await board.till(lambda: gone, "the phone is sent away")
                assert air.counts["up"] == 0, "nobody is told anything who does not ask"
                await link_of(host, air, service=True)
                await board.till(lambda: len(board.stored(data)) >= COUNT, "readings")
            finally:
                board.close()
                air.close()
        readings = board.stored(data)
        assert readings == sorted(set(readings)) and set(readings) <= set(board.served("flue"))
        assert board.radio.queued_most == 8, "the queue was full, and nothing else"

    asyncio.run(scene())


def test_a_board_without_a_key_says_so_and_the_console_knows_the_link(
    tmp_path: Path, bench_path: str, micropython: str
) -> None:
    async def scene() -> tuple[str, str]:
        air = Air(SEED)
        board = BleBoard(tmp_path / "board", bench_path, micropython, air, None)
        try:
            board.start()
            await board.till(lambda: board.radio.advertises, "it is to be seen")
            assert board.radio.name == "bench-1"
            return board.ask("status", "PROBLEM"), board.ask("links", "ble")
        finally:
            board.close()
            air.close()

    status, links = asyncio.run(scene())
    assert "PROBLEM  ble: no host believes a board without a key there" in status
    assert "ble, DOWN" in links
