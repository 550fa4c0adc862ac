"""Boards and the host joined by simulated air: pieces are lost, connections end in the middle of a frame.

Real firmware on real MicroPython, the host's own link and journal; simulated are sensors and the whole GATT layer.
"""

import asyncio
from pathlib import Path

import pytest
from meuse.config import BleSettings
from meuse.links.ble import BleLink
from meuse.run import Host
from meuse_protocol.received import RangeSet

from tests.air import Air
from .ble_board import BleBoard
from tests.host.hosts import ask, key_of, running

SEED = 40517
LOSS = 0.1
COUNT = 40


async def link_of(host: Host, air: Air, **settings: object) -> BleLink:
    """The host's link in this air."""
    link = BleLink(BleSettings(**settings), host.bridge.opened, air, host.bridge.count)  # type: ignore[arg-type]
    await host._start_link(link)
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
        assert len(served) > 3 * COUNT
        assert board.stored(data) == served
        assert board.radio.longest <= mtu - 3
        assert air.counts["lost"] > COUNT // 10
        print(f"MTU {mtu}: {dict(air.counts)}, {len(served)} readings, pieces of at most {board.radio.longest} bytes")

    asyncio.run(scene())
    ((received, gapped, next_seq),) = ask(data, "SELECT received, gapped, next_seq FROM streams")
    assert RangeSet.from_bytes(received).ranges() == [(1, next_seq - 1)]  # type: ignore[arg-type,operator]
    assert RangeSet.from_bytes(gapped).ranges() == []  # type: ignore[arg-type]
