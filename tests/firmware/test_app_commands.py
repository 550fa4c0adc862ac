"""Commands over links that wait, lose, double and change: the board acts once, and the host hears of it.

Real firmware on real MicroPython, the real host; simulated are sensors, the RS-485 wire, Bluetooth, radio chips.
"""

import asyncio
import contextlib
import copy
import json
import os
import pty
import socket
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from meuse.run import Host
from meuse_protocol import commands as wire_commands
from meuse_protocol.host_commands import CommandQueue
from meuse_protocol.messages import RESULT

from tests.air import Air
from tests.end_to_end.command_wire import Eavesdropper
from tests.end_to_end.river import meuse
from tests.host.hosts import ask, key_of, running
from tests.host.light_board import until
from tests.host.test_upstream import address_of, edge_of, share_keys
from tests.ports import free_port
from tests.rs485.real_time import RealWire
from tests.udp_proxy import UdpProxy

from .ble_board import BleBoard
from .chain import Link, Station
from .commanded import (
    DEVICE,
    FAN,
    asked,
    drill,
    ends,
    hourly,
    results,
    send,
    settings,
    states,
    stopped,
    switched,
    there,
)
from .lora_board import LoraBoard
from .lorawan_board import LorawanBoard
from .network import RealHost
from .peer import DEFAULT, Board
from .test_app_ble import link_of
from .test_app_rs485 import BusBoard
from .virtual import wait_for

BOARD = "MicroPython, unix build"
HEAP = "400k"  # here the modules are in it


@pytest.fixture
def parts(bench_path: str, micropython: str, tmp_path: Path) -> tuple[Path, str, str]:
    """Folder of a board, and what it runs."""
    (tmp_path / "board").mkdir()
    return tmp_path / "board", bench_path, micropython


@contextlib.contextmanager
def board_on(
    parts: tuple[Path, str, str], data: Path, made: dict[str, Any], kind: type[Board] = Board
) -> Iterator[Any]:
    folder, path, micropython = parts
    (folder / "key").write_bytes(key_of(data, DEVICE))
    board = kind(folder, path, micropython, made, HEAP)
    board.start()
    try:
        yield board
    finally:
        board.close()


def pid(board: Board) -> int:
    assert board.process
    return board.process.pid


@pytest.mark.link(
    "http", board=BOARD, wire="TCP sockets on loopback; commands, replies lost and doubled", host="meuse run"
)
def test_over_http_a_command_comes_in_the_reply_and_acts_once_though_replies_are_lost_or_say_it_twice(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    """The board has nothing to say of its own: it asks every second."""
    data, port = tmp_path / "data", free_port()

    async def scene() -> None:
        async with running(data, http={"listen": [f"127.0.0.1:{port}"]}, tcp={"listen": []}) as host:
            with Eavesdropper(port) as wire:
                link = {"kind": "http", "host": "127.0.0.1", "port": wire.port, "poll_ms": 1000}
                with board_on(parts, data, settings(link, groups=hourly())) as board:
                    await there(host, "http")
                    await drill(host, data, board.folder, 2)
                    wire.lose(b"fan")
                    await asked(host, "lost", "fan", "on", 1)
                    await ends(data, "lost")
                    assert wire.lost == 1 and switched(board.folder) == "010101"
                    before = wire.carried(b"fan")
                    session = host.bridge.session_of(DEVICE)
                    assert session
                    with stopped(pid(board)):
                        written = session.frames_out
                        await asked(host, "doubled", "fan", "on", 0)
                        await until(lambda: session.frames_out >= written + 3, "it goes again, and again")
                    await ends(data, "doubled")
                    await until(lambda: wire.carried(b"fan") >= before + 2, "the board has been given both")
                    await asked(host, "after", "stats")
                    await ends(data, "after")
                    assert switched(board.folder) == "0101010"
        assert len(results(data)) == 7

    asyncio.run(scene())


@pytest.mark.link(
    "rs485", board=BOARD, wire="simulated in real time; commands, torn off in mid-command", host="meuse run"
)
def test_on_rs485_a_command_comes_between_turns_and_acts_once(parts: tuple[Path, str, str], tmp_path: Path) -> None:
    data, ends_of_wire = tmp_path / "data", list(pty.openpty())
    tty.setraw(ends_of_wire[1])
    baud = 57_600
    # So rarely that a board which is stopped does not count as lost before its command goes again.
    bus = {"port": os.ttyname(ends_of_wire[1]), "baud": baud, "poll": "2s", "latency_ms": 30}
    heard = bytearray()

    async def scene() -> None:
        wire = RealWire(baud, 1)
        wire.join(ends_of_wire[0])
        tap, listener = socket.socketpair()
        listener.setblocking(False)
        asyncio.get_running_loop().add_reader(listener, lambda: heard.extend(listener.recv(65536)))
        wire.join(tap.fileno())
        link = {"kind": "rs485", "uart": 0, "baud": baud, "de": 7}
        made = {**settings(), "links": [link]}
        async with running(data, rs485=[bus], tcp={"listen": []}) as host:
            with board_on(parts, data, made, BusBoard) as board:
                own = board.socket.fileno()
                wire.join(own)
                await there(host, "rs485")
                await drill(host, data, board.folder, 2)
                sent = heard.count(b"fan")
                wire.leave(own)
                await asked(host, "lost", "fan", "on", 1)
                await until(lambda: heard.count(b"fan") > sent, "it is sent to nobody")
                wire.join(own)
                await ends(data, "lost")
                with stopped(pid(board)):
                    sent = heard.count(b"fan")
                    await asked(host, "doubled", "fan", "on", 0)
                    await until(lambda: heard.count(b"fan") >= sent + 2, "it goes twice")
                await ends(data, "doubled")
                assert switched(board.folder) == "0101010"
                wire.leave(own)
        wire.leave(ends_of_wire[0])
        wire.leave(tap.fileno())
        asyncio.get_running_loop().remove_reader(listener)
        tap.close()
        listener.close()

    try:
        asyncio.run(scene())
    finally:
        for fd in ends_of_wire:
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.mark.link(
    "ble",
    board=BOARD,
    wire="simulated GATT: commands, 10 % lost each way, cut in mid-command",
    host="the host in process",
)
def test_over_bluetooth_a_command_acts_once_though_pieces_are_lost_and_the_connection_ends(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    folder, path, micropython = parts

    async def scene() -> None:
        air = Air(7, 0.1, 23)
        async with running(data) as host:
            board = BleBoard(folder, path, micropython, air, key_of(data, DEVICE))
            board._heap = HEAP
            board.deploy(settings({"kind": "ble"}, groups=hourly()))
            try:
                await link_of(host, air, devices=[DEVICE])
                board.start()
                await there(host, "ble")
                await drill(host, data, folder, 3)
                connects = air.counts["connects"]
                board.radio.cuts = True  # with the first piece of what the board says next, its RESULT
                await asked(host, "cut", "fan", "on", 1)
                await ends(data, "cut")
                assert air.counts["connects"] > connects and air.counts["lost"]
                assert switched(folder) == "0" + "10" * 3 + "1"
            finally:
                board.close()
                air.close()

    asyncio.run(scene())


@pytest.mark.link(
    "udp", board=BOARD, wire="UDP on loopback; commands, 20 % lost each way, doubled, late", host="meuse run"
)
def test_over_udp_commands_act_once_though_datagrams_are_lost_doubled_and_late(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    data, port = tmp_path / "data", free_port()

    async def scene() -> None:
        async with running(data, udp={"listen": [f"127.0.0.1:{port}"]}, tcp={"listen": []}) as host:
            with UdpProxy(port, 7, loss=0.2, double=0.2, late=0.2) as network:
                link = {"kind": "udp", "host": "localhost", "port": network.port}
                with board_on(parts, data, settings(link)) as board:
                    await there(host, "udp")
                    await drill(host, data, board.folder, 4)
                    assert network.counts["lost"] and network.counts["doubled"]

    asyncio.run(scene())


@pytest.mark.link(
    "relay",
    board="two boards in a row, MicroPython, unix build",
    wire="sockets; relay killed in mid-command",
    host="meuse run",
)
def test_a_command_goes_down_through_a_relay_and_its_result_up_though_the_relay_is_killed_between(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    _, path, micropython = parts
    port = free_port()
    host = RealHost(tmp_path, f'listen = ["127.0.0.1:{port}"]\n')
    config = tmp_path / "meuse.toml"
    config.write_text(config.read_text().replace("[tcp]\nlisten = []\n", "[tcp]\n"))
    cable = Link()
    below = {"kind": "uart", "uart": 1, "carries": "others", "cost": 0}
    tcp = {"kind": "tcp", "host": "localhost", "port": port, "cost": 10}
    far = Station(tmp_path / "far-1", "far-1", host, [{"kind": "uart", "uart": 0}], {0: cable.down}, FAN)
    gateway = Station(tmp_path / "gateway-1", "gateway-1", host, [below, tcp], {1: cable.up})
    for station in (far, gateway):
        (station.folder / "speed").write_text("1")

    def waiting() -> int:
        """CMDs in the far board's end of its cable."""
        try:
            return cable.down.recv(65536, socket.MSG_PEEK).count(b"fan")
        except BlockingIOError:
            return 0

    def switch(level: int) -> list[str]:
        return asyncio.run(send(host.data, "far-1", "fan", f"on={level}"))

    try:
        host.start(port)
        far.start(path, micropython)
        gateway.start(path, micropython)
        far.more()
        assert switch(1)[-1] == switch(0)[-1] == "done"
        assert switched(far.folder) == "010"
        assert far.process
        with stopped(far.process.pid):
            asyncio.run(send(host.data, "far-1", "fan", "on=1", "--id", "killed", wait=False))
            wait_for(lambda: waiting() >= 2, "the command is in the cable, twice")
            gateway.kill()
            gateway.start(path, micropython)
            gateway.more()
        wait_for(lambda: states(host.data, "killed")[-1] == "done", "its result comes through the new relay")
        assert switched(far.folder) == "0101"
        assert switch(0)[-1] == "done"
        listed = [json.loads(line) for line in meuse("devices", "--data", str(host.data), "--json").splitlines()]
        (way,) = [entry["link"] for entry in listed if entry["device"] == "far-1"]
        assert way.endswith(" via gateway-1")
    finally:
        for station in (far, gateway):
            station.kill()
        host.kill()
        cable.close()


@pytest.mark.link(
    "tcp", board=BOARD, wire="TCP on loopback, by an edge host; commands, replayed", host="two hosts in process"
)
def test_a_command_of_the_host_upstream_reaches_a_board_at_an_edge_host_and_acts_once(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"

    async def scene() -> None:
        key_of(edge, DEVICE)
        share_keys(edge, up)
        async with (
            running(up) as host,
            above(host) as middle,
            edge_of(edge, up, f"tcp://127.0.0.1:{middle.port}") as near,
        ):
            with Eavesdropper(int(near.tcp[0].address.rpartition(":")[2])) as wire:
                link = {"kind": "tcp", "host": "localhost", "port": wire.port}
                with board_on(parts, edge, settings(link)) as board:
                    await there(host, "tcp")
                    assert (await send(up, DEVICE, "fan", "on=1"))[-1] == "done"
                    assert (await send(up, DEVICE, "fan", "on=0"))[-1] == "done"
                    assert switched(board.folder) == "010"
                    for _ in range(3):
                        middle.replay()
                        wire.replay()
                    await asked(host, "after", "stats")
                    await ends(up, "after")
                    wire.lose(b"fan")
                    await asked(host, "lost", "fan", "on", 1)
                    await ends(up, "lost")
                    assert wire.lost == 1 and switched(board.folder) == "0101"
        assert len(results(up)) == len(results(edge)) == 4
        assert ask(edge, "SELECT * FROM commands") == []

    asyncio.run(scene())


@asynccontextmanager
async def above(host: Host) -> AsyncIterator[Eavesdropper]:
    """A wire up to this host."""
    with Eavesdropper(int(address_of(host).rpartition(":")[2])) as wire:
        yield wire


def test_a_command_that_came_by_one_link_acts_once_and_its_result_goes_by_another(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Nobody tells the board that TCP is dead from it to the host; what comes down is still heard."""
    data, port = tmp_path / "data", free_port()

    async def scene() -> None:
        async with running(data, http={"listen": [f"127.0.0.1:{port}"]}) as host:
            with Eavesdropper(int(host.tcp[0].address.rpartition(":")[2])) as wire:
                tcp = {"kind": "tcp", "host": "localhost", "port": wire.port}
                web = {"kind": "http", "host": "127.0.0.1", "port": port, "poll_ms": 1000}
                with board_on(parts, data, settings(tcp, web)) as board:
                    await there(host, "tcp")
                    await drill(host, data, board.folder, 1)
                    assert {link.partition(":")[0] for link in results(data)} == {"tcp"}
                    carried = wire.carried(b"fan")
                    wire.mute()
                    await asked(host, "moved", "fan", "on", 1)
                    await until(lambda: wire.carried(b"fan") > carried, "it goes down by TCP")
                    await ends(data, "moved")
                    assert results(data)[-1].startswith("http")
                    await there(host, "http")
                    await asked(host, "back", "fan", "on", 0)
                    await ends(data, "back")
                    assert switched(board.folder) == "01010"

    asyncio.run(scene())


def test_a_command_goes_to_where_the_board_was_heard_last_though_older_connections_are_not_known_to_be_gone(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Over HTTP each start of a board is a connection of its own, and the ones before are kept for 15 minutes."""
    data, port = tmp_path / "data", free_port()
    link = {"kind": "http", "host": "127.0.0.1", "port": port, "poll_ms": 1000}

    async def scene() -> None:
        async with running(data, http={"listen": [f"127.0.0.1:{port}"]}, tcp={"listen": []}) as host:
            with board_on(parts, data, settings(link, groups=hourly())) as board:
                await there(host, "http")
                for boots in (2, 3, 4):
                    board.kill()
                    before = len(switched(board.folder))
                    board.start()
                    await until(lambda boots=boots: len(host.bridge.sessions) == boots, "one more connection")
                    await until(lambda before=before: len(switched(board.folder)) > before, "its outputs are safe")
                    await drill(host, data, board.folder, 1)

    asyncio.run(scene())


def test_a_setting_that_a_command_changed_is_taken_back_when_it_cut_the_board_off(
    parts: tuple[Path, str, str], tmp_path: Path
) -> None:
    """Over HTTP: a port where nobody is. The board's ten minutes without a host are six seconds here."""
    data, port = tmp_path / "data", free_port()
    op = {"name": "port", "kind": "setting", "setting": "links.http.port", "low": 1, "high": 65535}
    link = {"kind": "http", "host": "127.0.0.1", "port": port, "poll_ms": 1000}

    async def scene() -> None:
        made = settings(link, groups=hourly())
        made["ops"] = [*made["ops"], op]
        async with running(data, http={"listen": [f"127.0.0.1:{port}"]}, tcp={"listen": []}) as host:
            with board_on(parts, data, made) as board:
                await there(host, "http")
                await asked(host, "wrong", "port", "value", 0)
                await ends(data, "wrong", "refused")
                await asked(host, "away", "port", "value", free_port())
                await ends(data, "away")
                board.kill()
                (board.folder / "speed").write_text("100")
                board.start()
                process = board.process
                await until(lambda: process.poll() is not None, "nobody answers: it starts again with what it had")
                assert process.returncode == 7
                (board.folder / "speed").unlink()
                before = len(switched(board.folder))
                board.start()
                await until(lambda: len(switched(board.folder)) > before, "its outputs are safe")
                await drill(host, data, board.folder, 1)
                assert "PROBLEM  taken back: links.0.port" in await asyncio.to_thread(board.ask, "status", "PROBLEM")

    asyncio.run(scene())


@pytest.mark.link(
    "lora",
    board=BOARD,
    wire="simulated: SX127x at register level; commands sent twice, 20 % lost",
    host="the shared protocol, in memory, behind the same link as gateway",
)
def test_over_lora_a_command_acts_once_on_an_air_that_loses(parts: tuple[Path, str, str]) -> None:
    acts_by_radio(parts, LoraBoard, 1000, {})


@pytest.mark.link(
    "lorawan",
    board=BOARD,
    wire="simulated: a modem's AT dialogue, class A; commands sent twice, 20 % lost each way",
    host="the shared protocol, in memory",
)
def test_over_lorawan_a_command_follows_an_uplink_and_acts_once(parts: tuple[Path, str, str]) -> None:
    acts_by_radio(parts, LorawanBoard, 2000, {"pause_ms": 1000})


def acts_by_radio(
    parts: tuple[Path, str, str], kind: type[LoraBoard] | type[LorawanBoard], period_ms: int, link: dict[str, Any]
) -> None:
    """Three commands, each of which a host says twice and again until it has the RESULT."""
    folder, path, micropython = parts
    made: dict[str, Any] = {**copy.deepcopy(DEFAULT), **FAN}
    made["groups"][0].update(period_ms=period_ms, tick_ms=1000, max_age_ms=6 * period_ms)
    board = kind(folder, path, micropython, made, 0.2, **link)
    board._heap = HEAP
    queue = CommandQueue()
    sent: list[int] = []

    def answered(cid: int) -> bool:
        due = queue.next(board.now_ms())
        for _ in range(2 if due else 0):
            assert due
            board.host.command(stream, *due)
            board.poll()
            sent.append(cid)
        return [cid, wire_commands.DONE] in [fields[3:5] for fields in board.memory.fields(RESULT)]

    try:
        board.start()
        board.until(lambda: board.memory.streams and len(board.memory.values(0)) >= 3)
        (stream,) = board.memory.streams
        for cid in (1, 2, 3):
            queue.add(cid, [1, 1 << 31], "fan", ["on", cid % 2])
            board.until(lambda cid=cid: answered(cid))  # type: ignore[misc]
            queue.settled(cid)
        assert len(sent) >= 6 and switched(folder) == "0101"
    finally:
        board.close()
