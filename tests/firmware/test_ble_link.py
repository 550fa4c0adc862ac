"""The board's Bluetooth link by itself, step by step in simulated air: run by CPython, on the simulator's module."""

import asyncio
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from meuse.links.ble import RX, TX
from meuse_protocol.framing import FRAME, Deframer, frame

from tests.air import Air, Client
from tests.host.light_board import until

from .virtual import ROOT

E2E = bytes(range(0x90, 0xF0)) * 2


class Bench:
    """`link`: the board's; `shim`: its module bluetooth; `air` and `radio` are around it."""

    def __init__(self, patch: pytest.MonkeyPatch, mtu: int, device: str) -> None:
        self.air = Air(1, mtu=mtu)
        self.radio = self.air.radio()
        patch.setenv("MEUSE_BLE", str(os.dup(self.radio.there.fileno())))
        spec = importlib.util.spec_from_file_location("bluetooth", ROOT / "firmware/sim/micropython/bluetooth.py")
        assert spec and spec.loader
        self.shim = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.shim)
        patch.setitem(sys.modules, "bluetooth", self.shim)
        patch.delitem(sys.modules, "meuse_board.links.ble", raising=False)
        self.link: Any = importlib.import_module("meuse_board.links.ble").Link({"device": device}, None, lambda: 1)

    def receive(self, now: int) -> bytes | None:
        """Interrupts, then a step."""
        self.shim.drain()
        packet: bytes | None = self.link.receive(now)
        return packet

    async def seen(self, now: int) -> None:
        self.receive(now)
        await until(lambda: self.radio.advertises, "it is to be seen")

    async def central(self) -> tuple[Client, list[bytes]]:
        """One that has subscribed, and what it hears."""
        heard: list[bytes] = []
        client = self.air.BleakClient(self.radio, lambda client: None, timeout=1)
        await client.connect()
        await client.start_notify(TX, lambda characteristic, data: heard.append(bytes(data)))
        return client, heard


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(scene: Callable[[Bench], Any], mtu: int = 247, device: str = "stove-1") -> None:
        async def begin() -> None:
            bench = Bench(monkeypatch, mtu, device)
            try:
                await scene(bench)
            finally:
                bench.shim.pollable.close()
                bench.air.close()

        asyncio.run(begin())

    return run


@pytest.mark.parametrize("mtu", [23, 64, 247, 517])
def test_frames_go_in_pieces_as_wide_as_was_agreed_and_only_to_who_wrote(run: Callable[..., None], mtu: int) -> None:
    async def scene(bench: Bench) -> None:
        link, radio = bench.link, bench.radio
        await bench.seen(0)
        assert radio.name == "stove-" + 23 * "x"
        client, heard = await bench.central()
        assert bench.receive(0) is None and not link.up
        await client.write_gatt_char(client.get_characteristic(RX), b"\0", response=True)
        assert bench.receive(1) is None and link.up
        link.send(E2E, 2)
        assert link.room(2) == (mtu > 23), "its queue has room for 8"

        def sent() -> bool:
            bench.receive(3)
            return b"".join(heard).count(b"\0") == 2

        await until(sent, "all pieces")
        assert radio.longest == min(mtu - 3, len(frame(E2E)) + 1)
        deframer = Deframer(1024)
        deframer.feed(b"".join(heard))
        assert deframer.next() == (FRAME, E2E)

    run(scene, mtu, "stove-" + 26 * "x")


def test_a_central_that_floods_holds_nobody_up_and_one_that_is_lost_is_forgotten(run: Callable[..., None]) -> None:
    async def scene(bench: Bench) -> None:
        link, radio = bench.link, bench.radio
        await bench.seen(0)
        client, _ = await bench.central()
        rx = client.get_characteristic(RX)
        for _ in range(10):
            await client.write_gatt_char(rx, b"\x99" * 244, response=False)
        assert bench.receive(5) is None and link.due_ms == 5, "1 kB at a time, and come again at once"
        assert bench.receive(6) is None and link.due_ms > 6, "what found no room is lost"
        await client.write_gatt_char(rx, b"\0" + frame(E2E)[:100], response=False)
        await client.write_gatt_char(rx, frame(E2E)[100:], response=False)
        assert bench.receive(7) == E2E
        assert link.damaged == 1
        await client.write_gatt_char(rx, b"\0" + frame(E2E)[:50], response=False)
        link.send(E2E, 8)
        radio.cut()
        assert bench.receive(9) is None and not link.up
        await bench.seen(10)
        client, _ = await bench.central()
        await client.write_gatt_char(rx, frame(E2E)[50:], response=False)
        assert bench.receive(11) is None and link.up
        assert bench.receive(12) is None
        assert link.damaged == 2 and link.received == 1, "half a frame of before is nothing now"
        link.doubt(13)
        assert not link.up
        await until(lambda: radio.client is None, "it says goodbye")
        link.close(14)

    run(scene)


def test_a_stack_that_refuses_is_asked_again_later(run: Callable[..., None]) -> None:
    async def scene(bench: Bench) -> None:
        link, shim = bench.link, bench.shim
        real = shim._tell

        def refuses(op: int, data: bytes = b"") -> None:
            raise OSError(5)

        shim._tell = refuses  # type: ignore[attr-defined]
        tried: list[int] = []
        now = 0
        while len(tried) < 8:
            assert bench.receive(now) is None
            assert link.problem == "the Bluetooth stack says: 5"
            tried.append(link.due_ms - now)
            now = link.due_ms
        assert 250 <= tried[0] <= 500 and 30_000 <= tried[7] <= 60_000
        shim._tell = real  # type: ignore[attr-defined]
        await bench.seen(now)
        assert link.problem is None

    run(scene)
