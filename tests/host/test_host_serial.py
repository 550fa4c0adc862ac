"""Serial ports on pseudo terminals: plugged and unplugged while running, text beside frames, never a reset."""

import asyncio
import os
import pty
import random
import termios
import tty
from pathlib import Path

import pytest
from meuse.links.serial import SerialLink, matching, open_port
from meuse.session import STRANGER_BYTES
from meuse_protocol.framing import frame
from meuse_protocol.messages import HELLO
from serial.tools.list_ports_common import ListPortInfo

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, until


class Cable:
    """A pseudo terminal whose slave side the host finds at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = self.slave = -1

    def plug(self) -> int:
        self.master, self.slave = pty.openpty()  # the slave stays open, or the master reads errors
        tty.setraw(self.master)
        self.path.symlink_to(os.ttyname(self.slave))
        return self.master

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self.master)
        os.close(self.slave)


def test_a_cable_is_pulled_and_plugged_in_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, cable = tmp_path / "data", Cable(tmp_path / "tty-stove")

    async def scene() -> None:
        async with running(data, serial=[{"port": str(tmp_path / "tty-*")}]) as host:
            board = LightBoard("stove-1", key_of(data, "stove-1"))
            link = host.listening.links[-1]
            for _ in range(3):
                board.add(50)
                board.plug(cable.plug())
                await board.drained()
                board.add(200)  # pulled while these are on their way
                board.unplug()
                cable.unplug()
                await until(lambda: not link.ports, "the port is closed", 60)
            board.plug(cable.plug())
            await board.drained()
            assert stored(data, board.log.stream) == board.log.created
            board.unplug()
            cable.unplug()

    asyncio.run(scene())
    assert events(data).count("link-up") == 4
    lost = [record.message for record in caplog.records if "lost; waiting" in record.message]
    assert len(lost) == 4  # once each time, not once a look


def test_a_device_without_a_key_is_welcome_on_a_cable_and_its_text_is_kept(tmp_path: Path) -> None:
    data, cable = tmp_path / "data", Cable(tmp_path / "tty")

    async def scene() -> None:
        async with running(data, serial=[{"port": str(cable.path)}]) as host:
            master = cable.plug()
            await until(lambda: host.listening.links[-1].ports, "the port is open")
            os.write(master, b"boot: who am I?\r\n\0")
            await until(lambda: [*(data / "console").glob("*.log")], "text of a port nobody has named yet")
            board = LightBoard("bare-1", None)
            board.add(5)
            board.plug(master)
            await board.drained()
            board.send_raw(b"\0stove: door opened\r\n")
            board.add(5)
            await board.drained()
            assert stored(data, board.log.stream) == board.log.created
            log = data / "console/bare-1.log"
            await until(lambda: log.exists() and "door opened" in log.read_text(), "the text")
            assert host.bridge.totals()["damaged"] == 0
            board.unplug()
            cable.unplug()

    asyncio.run(scene())
    (port_log,) = (path for path in (data / "console").glob("*.log") if path.name != "bare-1.log")
    assert "who am I?" in port_log.read_text()  # said before the port knew whose it is


def test_two_boards_on_two_ports(tmp_path: Path) -> None:
    data = tmp_path / "data"
    cables = [Cable(tmp_path / "tty-a"), Cable(tmp_path / "tty-b")]

    async def scene() -> None:
        async with running(data, serial=[{"port": str(tmp_path / "tty-*")}], tcp={"listen": []}):
            boards = [LightBoard(name, key_of(data, name)) for name in ("a-1", "b-1")]
            for board, cable in zip(boards, cables, strict=True):
                board.add(100)
                board.plug(cable.plug())
            for board, cable in zip(boards, cables, strict=True):
                await board.drained()
                assert stored(data, board.log.stream) == board.log.created
                board.unplug()
                cable.unplug()

    asyncio.run(scene())


def test_a_port_is_opened_raw_alone_and_without_hanging_up(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "tty")
    cable.plug()
    attributes = termios.tcgetattr(cable.slave)
    attributes[2] |= termios.HUPCL
    termios.tcsetattr(cable.slave, termios.TCSANOW, attributes)
    port = open_port(str(cable.path), 115_200)
    attributes = termios.tcgetattr(port.fileno())
    assert not attributes[2] & termios.HUPCL
    assert not attributes[3] & (termios.ICANON | termios.ECHO)
    assert attributes[4] == termios.B115200
    with pytest.raises(OSError):
        open_port(str(cable.path), 115_200)
    port.close()
    cable.unplug()


def test_ports_are_named_by_path_glob_or_usb_number(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert matching(str(tmp_path / "a")) == [str(tmp_path / "a")]
    assert matching(str(tmp_path / "?")) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert matching(str(tmp_path / "c")) == []
    assert matching("usb:NO-SUCH-NUMBER") == []


def test_an_adapter_is_found_by_its_number_wherever_it_is_plugged_in() -> None:
    plugged = [ListPortInfo("/dev/ttyUSB1"), ListPortInfo("/dev/ttyUSB0"), ListPortInfo("/dev/ttyS0")]
    plugged[0].serial_number, plugged[1].serial_number = "5A4B012345", "5A4B99"
    assert matching("usb:5A4B012345", lambda: plugged) == ["/dev/ttyUSB1"]
    plugged[0].device = "/dev/ttyUSB7"
    assert matching("usb:5A4B012345", lambda: plugged) == ["/dev/ttyUSB7"]
    assert matching("usb:", lambda: plugged) == []  # what has no number has no name


def test_noise_and_forged_frames_on_a_cable_change_nothing_but_counters(tmp_path: Path) -> None:
    data, cable = tmp_path / "data", Cable(tmp_path / "tty")
    chance = random.Random(7)

    async def scene() -> None:
        async with running(data, serial=[{"port": str(cable.path)}]) as host:
            key = key_of(data, "stove-1")
            board = LightBoard("stove-1", key)
            board.add(20)
            master = cable.plug()
            board.plug(master)
            await board.drained()
            before = ask(data, "SELECT * FROM streams"), stored(data, board.log.stream)
            forger, keyless = LightBoard("stove-1", bytes(32)), LightBoard("stove-1", None)
            for other in (forger, keyless):
                other.add(1)
                other.endpoint.link_up(0, 1024, 1)
                hello = frame(other.endpoint._control(HELLO, 0))
                data_of_another = frame(other.packet(other.log.created[1], board.log.stream))
                board.send_raw(b"\0" + hello + data_of_another)
            for _ in range(20):
                board.send_raw(chance.randbytes(100) + b"\0\r\nrst:0x1 (POWERON)\r\n\0")
            seen = host.bridge.totals
            board.send_raw(b"\x99" * (2 * STRANGER_BYTES) + b"\0")  # a cable is nobody's way in: it stays open
            await until(lambda: seen()["damaged"] and seen()["lines"] and seen().get("bad_mac", 0) > 1, "counters")
            assert (ask(data, "SELECT * FROM streams"), stored(data, board.log.stream)) == before
            assert not ask(data, "SELECT * FROM gaps")
            board.add(5)
            await board.drained()
            assert stored(data, board.log.stream) == board.log.created
            board.unplug()
            cable.unplug()

    asyncio.run(scene())


def test_a_rate_that_no_port_takes_is_said_and_ends_no_hot_plug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, cable = tmp_path / "data", Cable(tmp_path / "tty")

    async def scene() -> None:
        async with running(data, serial=[{"port": str(cable.path)}]) as host:
            (link,) = (each for each in host.listening.links if isinstance(each, SerialLink))
            board = LightBoard("stove-1", key_of(data, "stove-1"))
            right, link._baud = link._baud, -1
            master = cable.plug()
            await until(lambda: "cannot be opened" in caplog.text, "what is wrong", 60)
            link._baud = right
            await until(lambda: link.ports, "it is open after all", 60)
            board.plug(master)
            board.add(5)
            await board.drained(60)
            board.unplug()
            cable.unplug()

    asyncio.run(scene())


def test_a_look_that_fails_is_not_the_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, cable = tmp_path / "data", Cable(tmp_path / "tty")

    async def scene() -> None:
        async with running(data, serial=[{"port": str(tmp_path / "[t]ty")}]) as host:
            (link,) = (each for each in host.listening.links if isinstance(each, SerialLink))
            right, link.pattern = link.pattern, "\0/*"  # what the system will not look for
            await until(lambda: "cannot be looked for" in caplog.text, "what is wrong", 60)
            link.pattern = right
            cable.plug()
            await until(lambda: link.ports, "it is open after all", 60)
            cable.unplug()

    asyncio.run(scene())
