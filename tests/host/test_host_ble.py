"""The host's Bluetooth link in simulated air: found, lost, found again; no adapter; strangers; no room."""

import asyncio
import importlib.metadata
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import bleak
import pytest
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTServiceCollection
from meuse import bridge
from meuse.errors import HostError
from meuse.links import ble
from meuse.links.ble import HELD_BYTES, RX, SERVICE, TX, BleLink
from meuse.run import Host
from meuse.settings import BleSettings

from tests.air import Air
from tests.end_to_end.river import Host as HostProcess
from tests.firmware.virtual import wait_for
from tests.host.ble_board import AirBoard
from tests.host.hosts import events, key_of, running, stored
from tests.host.light_board import LightBoard, until


async def begun(host: Host, air: Air, **settings: object) -> BleLink:
    link = BleLink(BleSettings(**settings), host.bridge.opened, air, host.bridge.count)  # type: ignore[arg-type]
    assert host.listening
    await host.listening._start_link(link)
    return link


@pytest.mark.link(
    "ble",
    board="light client on the shared protocol",
    wire="simulated GATT: 10 % lost each way, MTU 185, connections end",
    host="the host in process",
)
def test_boards_that_are_near_are_found_lost_and_found_again(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def scene() -> None:
        air = Air(11, loss=0.1, mtu=185)
        async with running(data) as host:
            boards = [AirBoard(air, name, key_of(data, name)) for name in ("a-1", "b" * 32)]
            stranger = AirBoard(air, "c-1", key_of(data, "c-1"))
            link = await begun(host, air, devices=["a-1", "B" * 32])
            for number in range(4):
                for one in boards:
                    one.radio.cuts = number > 0  # in mid-frame, once they have been greeted
                    one.board.add(40)
                for one in boards:
                    await one.board.drained()
            assert len(link.connections) == 2
            for one in boards:
                assert stored(data, one.board.log.stream) == one.board.log.created
            assert stranger.radio.advertises, "nobody asked for it"
            for one in (*boards, stranger):
                one.close()
        air.close()

    asyncio.run(scene())
    assert events(data).count("link-up") >= 8


def test_without_an_adapter_it_is_said_once_and_one_that_is_plugged_in_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setattr(ble, "FIRST_S", 0.01)

    async def scene() -> None:
        air = Air(1)
        air.without = FileNotFoundError(2, "No such file or directory")
        async with running(data) as host:
            board = AirBoard(air, "a-1", key_of(data, "a-1"))
            await begun(host, air, service=True)
            await until(lambda: air.counts["scans"] >= 4, "it tries again")
            other = LightBoard("t-1", key_of(data, "t-1"))
            other.add(5)
            await other.connect(host.tcp[0].address)
            await other.drained()  # the host goes on
            air.without = None
            board.board.add(5)
            await board.board.drained()
            other.unplug()
            board.close()
        air.close()

    asyncio.run(scene())
    said = [record.message for record in caplog.records if record.name == ble.__name__]
    assert [line for line in said if "no Bluetooth here" in line] == [
        "ble: no Bluetooth here: no D-Bus ([Errno 2] No such file or directory); install BlueZ and start bluetoothd; "
        "trying again"
    ]
    assert said.count("ble: Bluetooth works again") == 1


def test_strangers_are_sent_away_kept_at_a_distance_and_leave_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection at a time, and two who offer the service; only one of them is anybody."""
    data = tmp_path / "data"
    monkeypatch.setattr(bridge, "STRANGER_S", 1.0)

    async def scene() -> None:
        air = Air(2)
        async with running(data) as host:
            stranger = AirBoard(air, "x-1", bytes(32))
            board = AirBoard(air, "a-1", key_of(data, "a-1"))
            link = await begun(host, air, service=True, max_devices=1)
            board.board.add(5)
            await board.board.drained()
            assert [connection.address for connection in link.connections.values()] == [board.radio.address]
            assert host.bridge.totals()["strangers"] >= 1
            for one in (stranger, board):
                one.close()
        air.close()

    asyncio.run(scene())


def test_what_comes_while_nothing_is_taken_is_kept_as_far_as_there_is_room(tmp_path: Path) -> None:
    async def scene() -> None:
        air = Air(3, mtu=247)
        counted: list[str] = []
        taken: list[bytes] = []
        receiver = SimpleNamespace(device="a-1", stranger=False, receive=taken.append, lost=lambda: None)
        wires = []
        settings = BleSettings(service=True)
        link = BleLink(settings, lambda name, kind, wire: (wires.append(wire), receiver)[1], air, counted.append)
        await link.start()
        board = AirBoard(air, "a-1", None, silent=True)
        await until(lambda: wires, "it is connected")
        (wire,) = wires
        wire.hold(True)
        pieces = HELD_BYTES // 244
        for number in range(pieces + 3):
            board.notify(bytes((number,)) * 244)
        await until(lambda: len(counted) == 3, "no more room")
        assert counted == ["ble_dropped"] * 3 and not taken
        wire.hold(False)
        await until(lambda: taken, "what was kept")
        assert b"".join(taken) == b"".join(bytes((number,)) * 244 for number in range(pieces))
        wire.write(bytes(1000))
        await until(lambda: len(board.got) == 1001, "a long write, in pieces")
        board.notify(b"later")
        await until(lambda: taken[-1] == b"later", "it goes on")
        board.close()
        await link.close()
        air.close()

    asyncio.run(scene())


def test_without_bleak_the_host_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)
    with pytest.raises(HostError) as caught:
        ble.load_bleak()
    assert caught.value.advice == "pip install 'meuse[ble]'"


def test_bleak_has_what_the_link_calls() -> None:
    """Names and arguments of the real package, beside those of the simulated air."""

    def takes(call: object, *words: object, **named: object) -> None:
        inspect.signature(call).bind(*words, **named)  # type: ignore[arg-type]

    print("bleak", importlib.metadata.version("bleak"))
    for radio in (bleak, Air):
        own = [None] if radio is Air else []
        takes(radio.BleakScanner, *own, detection_callback=print, service_uuids=[SERVICE])
        takes(radio.BleakClient, *own, "device", disconnected_callback=print, timeout=1.0)
    for name in ("start", "stop"):
        takes(getattr(bleak.BleakScanner, name), None)
    for name in ("connect", "disconnect"):
        takes(getattr(bleak.BleakClient, name), None)
    takes(bleak.BleakClient.start_notify, None, TX, print)
    takes(bleak.BleakClient.write_gatt_char, None, "characteristic", b"", response=False)
    takes(BleakGATTServiceCollection.get_characteristic, None, RX)
    assert isinstance(bleak.BleakClient.services, property)
    assert isinstance(BleakGATTCharacteristic.max_write_without_response_size, property)
    assert "local_name" in bleak.AdvertisementData._fields
    device = BLEDevice("C0:FF:EE:00:00:00", "a-1", None)
    assert (device.address, device.name) == ("C0:FF:EE:00:00:00", "a-1")


def test_a_machine_without_bluetooth_runs_its_host_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real bleak, pointed to a D-Bus that is not there."""
    config = tmp_path / "meuse.toml"
    config.write_text('[ble]\ndevices = ["stove-1"]\n')
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with HostProcess(tmp_path / "data", config=config) as host:
        said = tmp_path / "data/host.log"
        wait_for(lambda: "trying again" in said.read_text(), "the host says that there is no Bluetooth")
        host.stop()
    text = said.read_text()
    assert "ble: looking for stove-1" in text
    assert text.count("ble: no Bluetooth here: ") == 1
