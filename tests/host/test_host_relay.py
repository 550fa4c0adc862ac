"""Several boards over one connection: each has its own presence, its own answers, and the way it came by.

The boards are light clients on the shared protocol; what passes their packets on is this file's, the real relay is
tested in tests/firmware.
"""

import asyncio
import secrets
from pathlib import Path

import pytest
from meuse_protocol.framing import Deframer, frame
from meuse_protocol.messages import BLOB, NEED, RELAYS, head, record

from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, now_ms, until


class LightRelay(LightBoard):
    """Passes on, and answers to, whoever is `behind`."""

    def __init__(self, device: str, key: bytes | None) -> None:
        super().__init__(device, key)
        self.endpoint.features = RELAYS
        self.behind: list[LightBoard] = []

    def attach(self, board: LightBoard) -> None:
        self.behind.append(board)
        board.endpoint.link_up(now_ms(), 1024, secrets.randbits(32))
        self._pump()

    def _take(self, e2e: bytes) -> None:
        stream = head(e2e)[1]
        for board in self.behind:
            if board.log.stream == stream:
                board._take(e2e)
                return
        super()._take(e2e)

    def _pump(self) -> None:
        super()._pump()
        for board in self.behind if self.welcomed else ():
            while (e2e := board.endpoint.next_pdu(now_ms())) is not None:
                self.send_packet(e2e)

    def _arm(self) -> None:
        super()._arm()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0.02, self._pump)

    @property
    def welcomed(self) -> bool:
        return self.plugged and self.endpoint.state == "R"


def device_rows(data: Path) -> dict[str, tuple[str, int]]:
    """device -> (link, online), as `meuse devices` reads them."""
    rows = ask(data, "SELECT device, link, online FROM device_status")
    return {str(device): (str(link), int(str(online))) for device, link, online in rows}


@pytest.mark.link(
    "relay", board="light clients on the shared protocol", wire="TCP on loopback", host="the host in process"
)
def test_boards_behind_a_relay_are_here_beside_it_and_nothing_flaps(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def scene() -> None:
        async with running(data) as host:
            names = ("gateway-1", "far-1", "far-2")
            gateway = LightRelay(names[0], key_of(data, names[0]))
            far = [LightBoard(name, key_of(data, name)) for name in names[1:]]
            await gateway.connect(host.tcp[0].address)
            await until(lambda: gateway.welcomed, "the relay is greeted")
            for board in far:
                gateway.attach(board)
            for _ in range(5):
                for board in (gateway, *far):
                    board.add(20)
                gateway._pump()
                await until(lambda: all(b.acked == b.made for b in (gateway, *far)), "everything is stored")
            session = next(iter(host.bridge.sessions))
            assert sorted(session.devices) == sorted(names) and session.device == "gateway-1"
            await host.status.write()
            rows = device_rows(data)
            assert rows["gateway-1"] == (session.name, 1)
            assert rows["far-1"] == rows["far-2"] == (f"{session.name} via gateway-1", 1)
            assert session.silent() == []
            gateway.add()
            far[0].add()
            gateway._pump()
            await until(lambda: far[0].acked == far[0].made, "one board behind is heard")
            assert session.silent() == ["far-2"]
            host.bridge.left(session, "far-2")
            gateway.unplug()
            await until(lambda: not host.bridge.sessions, "the connection is gone")
            assert [known.links for known in host.bridge.presences.devices.values()] == [0, 0, 0]
            for board in (gateway, *far):
                assert stored(data, board.log.stream) == board.log.created

    asyncio.run(scene())
    kinds = events(data)
    assert kinds.count("link-up") == 3 and kinds.count("link-lost") == 3 and "link-changed" not in kinds


def test_who_is_known_but_says_no_hello_on_a_new_connection_is_asked_for_it(tmp_path: Path) -> None:
    """A relay whose address has changed on UDP goes on under full names, and is no stranger."""
    data = tmp_path / "data"

    async def scene() -> None:
        async with running(data) as host:
            board = LightBoard("far-1", key_of(data, "far-1"))
            board.add()
            await board.connect(host.tcp[0].address)
            await board.drained()
            board.unplug()
            name, port = host.tcp[0].address.rsplit(":", 1)
            reader, writer = await asyncio.open_connection(name, int(port))
            body = record(BLOB, 2, 1, None, b"x")
            writer.write(b"\0" + frame(board.packet(body, board.log.stream)))
            deframer, seen = Deframer(1024), []
            while NEED not in seen:
                deframer.feed(await asyncio.wait_for(reader.read(1024), 60))
                while (item := deframer.next()) is not None:
                    seen.append(head(item[1])[0])
            writer.close()
            await until(lambda: 2 in stored(data, board.log.stream), "its record is stored all the same")

    asyncio.run(scene())


def test_after_a_restart_of_the_host_boards_behind_a_relay_are_here_without_a_hello(tmp_path: Path) -> None:
    """The relay greets anew, its connection is another one; those behind it go on as if nothing had happened."""
    data = tmp_path / "data"

    async def scene() -> None:
        gateway = LightRelay("gateway-1", key_of(data, "gateway-1"))
        far = LightBoard("far-1", key_of(data, "far-1"))
        for _ in range(2):
            async with running(data) as host:
                await gateway.connect(host.tcp[0].address)
                await until(lambda: gateway.welcomed, "the relay is greeted")
                if not gateway.behind:
                    gateway.attach(far)
                far.add(10)
                gateway._pump()
                await until(lambda: far.acked == far.made, "everything is stored")
                assert sorted(host.bridge.presences.devices) == ["far-1", "gateway-1"]
                assert all(known.online for known in host.bridge.presences.devices.values())
            await until(lambda: not gateway.plugged, "the host is gone")
        assert stored(data, far.log.stream) == far.log.created

    asyncio.run(scene())
