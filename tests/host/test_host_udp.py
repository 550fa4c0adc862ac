"""The running host on one UDP socket: addresses that prove themselves, and all the others."""

import asyncio
import contextlib
import errno
import socket
from pathlib import Path

import pytest
from meuse.errors import NotReachable
from meuse.links import Wire, peers, udp
from meuse.links.udp import UdpLink
from meuse.run import Host
from meuse_protocol import states
from meuse_protocol.messages import NEED, NEED_HELLO, PING, record, splice

from tests.host.hosts import ask, key_of, running, stored
from tests.host.light_board import LightBoard, until
from tests.host.udp_board import UdpBoard

UDP = {"listen": ["127.0.0.1:0"]}
WHO_IS_THERE = splice(record(NEED, NEED_HELLO), 0)


async def plugged(data: Path, host: Host, device: str, records: int) -> UdpBoard:
    """A board with records of its own, all of them stored."""
    board = UdpBoard(device, key_of(data, device))
    board.add(records)
    await board.connect(host.listening.udp[0].address)
    await board.drained(20)
    return board


def seen(host: Host) -> int:
    """Datagrams read so far."""
    totals = host.bridge.totals()
    return sum(totals.get(name, 0) for name in ("frames", "damaged", "udp_strangers_ignored"))


def spoofed(number: int, link: UdpLink, data: bytes) -> None:
    """One datagram from an address that nobody else has: all of 127.0.0.0/8 is this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((f"127.1.{number >> 8}.{number & 255}", 0))
        sender.sendto(data, ("127.0.0.1", link.port))


@pytest.mark.link(
    "udp", board="light client on the shared protocol", wire="UDP on loopback", host="the host in process"
)
def test_what_is_acknowledged_is_in_the_journal_and_what_is_made_arrives(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 200)
            assert stored(tmp_path, board.log.stream) == board.log.created
            assert ask(tmp_path, "SELECT DISTINCT link FROM records") == [("udp:127.0.0.1",)]
            assert host.bridge.totals()["damaged"] == 0
            board.unplug()

    asyncio.run(scene())


@pytest.mark.link(
    "udp",
    board="light client on the shared protocol",
    wire="UDP on loopback, its port changes",
    host="the host in process",
)
def test_a_board_whose_address_changes_greets_again_and_its_stream_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 20)
            for _ in range(3):
                await until(lambda: board.endpoint.state == states.READY, "WELCOME")
                board.add(10)  # on their way when the address changes: their ACKs go nowhere
                board.move()
                board.answers.clear()
                board.add(10)
                await board.drained(20)
                assert board.answers[0] == WHO_IS_THERE
                assert board.answers.count(WHO_IS_THERE) == 1, "once a second"
            assert stored(tmp_path, board.log.stream) == board.log.created
            await host.journal.read(lambda db: None)
            assert host.commits.committed == len(board.log.created), "stored twice"
            await until(lambda: board.endpoint.state == states.READY, "WELCOME")
            assert len(host.listening.udp[0].peers.known) == host.bridge.presences.devices["stove-1"].links == 4
            board.unplug()

    asyncio.run(scene())


def test_nobody_is_sent_more_than_they_sent_before_they_have_proved_who_they_are(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            good = await plugged(tmp_path, host, "stove-1", 3)
            nobody = UdpBoard("nobody-1", bytes(32))
            await nobody.connect(host.listening.udp[0].address)
            hello, unknown = good.spoken[0], nobody.spoken[0]
            nobody.unplug()
            full = good.log.stream
            short, long = (good.packet(good.log.created[1], stream) for stream in (0, full ^ 1))
            tries = [
                b"", b"\x92", b"\x92\x12\x00", splice(record(PING), full ^ 1), splice(record(PING), full),
                hello[:-1] + b"\0", unknown, bytes(range(200)), b"\xff" * 4200, short, long,
            ]  # fmt: skip
            answered = 0
            for data in tries:
                before = seen(host)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.setblocking(False)
                    stranger.connect(("127.0.0.1", host.listening.udp[0].port))
                    stranger.send(data)
                    await until(lambda n=before: seen(host) > n, "it is read")  # type: ignore[misc]
                    with contextlib.suppress(BlockingIOError):  # what is answered is answered at once
                        answer = stranger.recv(4096)
                        assert len(answer) <= len(data), (data, answer)
                        answered += 1
            assert answered >= 4, "NEED and ERR do go out"
            assert host.bridge.totals()["udp_unanswered"] >= 2
            good.unplug()

    asyncio.run(scene())


@pytest.mark.link(
    "udp",
    board="light client on the shared protocol, and 3,000 invented addresses",
    wire="UDP on loopback",
    host="the host in process",
)
def test_a_flood_of_invented_addresses_leaves_nothing_behind_and_boards_go_on(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 3)
            link = host.listening.udp[0]
            forged = bytearray(board.packet(board.log.created[1], board.log.stream))
            forged[-1] ^= 1
            most = 0
            for number in range(3000):
                spoofed(number, link, (bytes(forged), b"\x92\x12\x00", bytes(range(100)))[number % 3])
                if number % 50 == 0:
                    board.add(1)
                    await asyncio.sleep(0)
                    most = max(most, len(host.bridge.sessions))
            await board.drained(20)
            await until(lambda: seen(host) >= 3000, "all are read")
            assert most <= peers.STRANGERS_MAX + 2
            assert len(host.bridge.sessions) == len(link.peers) <= peers.STRANGERS_MAX + 1
            assert len(host.bridge._timers) <= peers.STRANGERS_MAX + 1
            assert stored(tmp_path, board.log.stream) == board.log.created
            assert list(host.bridge.presences.devices) == ["stove-1"]
            assert host.bridge.totals()["udp_strangers_replaced"] > 0
            board.unplug()

    asyncio.run(scene())


def test_more_strangers_than_a_second_allows_cost_one_look_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "STRANGERS_PER_S", 20)

    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 3)
            for number in range(200):
                spoofed(number, host.listening.udp[0], b"\x92\x12\x00")
            await until(lambda: host.bridge.totals().get("udp_strangers_ignored", 0) >= 100, "they are passed over")
            board.add(20)
            await board.drained(20)
            assert stored(tmp_path, board.log.stream) == board.log.created
            board.unplug()

    asyncio.run(scene())


class Somebody:
    """An address, and what the table notes of it."""

    def __init__(self, port: int) -> None:
        self.address = ("192.0.2.1", port)
        self.device: str | None = None
        self.heard_s = 0.0


def test_whoever_is_silent_longest_makes_way() -> None:
    table: peers.Peers[Somebody] = peers.Peers(3)
    first, second, third, fourth = (Somebody(port) for port in range(1, 5))
    for now, one in enumerate((first, second, third)):
        assert table.add(one) is None
        assert table.named(one, f"stove-{one.address[1]}", now) is None
    assert table.heard(first.address, 10) is first
    table.add(fourth)
    assert table.named(fourth, "stove-4", 11) is fourth, "nobody is idle"
    table.remove(fourth)
    fourth.device = None
    table.add(fourth)
    later = 1 + peers.ACTIVE_S
    assert table.named(fourth, "stove-4", later) is second
    table.remove(second)
    assert [one.address[1] for one in table.known.values()] == [3, 1, 4]
    assert table.silent_since(10) is third and table.silent_since(2) is None
    assert table.named(fourth, "stove-1", later) is None  # another board behind the same address
    assert table.named(third, "stove-1", later) is None
    assert not table.strangers and len(table) == 3


def test_a_device_has_few_addresses_and_strangers_have_few_places() -> None:
    table: peers.Peers[Somebody] = peers.Peers(100)
    everybody = [Somebody(port) for port in range(1, 7)]
    for now, one in enumerate(everybody[:5]):
        table.add(one)
        leaving = table.named(one, "stove-1", now)
        assert leaving is (None if now < peers.ADDRESSES_PER_DEVICE else everybody[0])
    strangers = [Somebody(port) for port in range(1000, 1000 + peers.STRANGERS_MAX + 1)]
    assert [table.add(one) for one in strangers] == [None] * peers.STRANGERS_MAX + [strangers[0]]


def test_more_boards_than_places_do_not_push_each_other_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP | {"max_peers": 3}) as host:
            boards = [await plugged(tmp_path, host, f"stove-{n}", 2) for n in range(4)]
            known = host.bridge.presences.devices
            assert [known[board.device].online for board in boards] == [True, True, True, False]
            await until(lambda: host.bridge.totals().get("udp_peers_refused", 0) >= 2, "it comes again and again")
            for board in boards[:3]:
                board.add(10)
                await board.drained()
                assert WHO_IS_THERE not in board.answers, "it is known all the time"
            table, address = host.listening.udp[0].peers, ("127.0.0.1", boards[0].port)
            boards[0].unplug()
            table.known[address].heard_s -= 3600  # as if for an hour nothing came from there
            table.known.move_to_end(address, last=False)
            boards[3].add(3)
            await until(lambda: known["stove-3"].online, "there is room now", 20)
            await boards[3].drained(20)
            assert not known["stove-0"].online
            for board in boards:
                assert stored(tmp_path, board.log.stream) == board.log.created
                board.unplug()

    asyncio.run(scene())
    assert sum("raise udp.max_peers" in line for line in caplog.messages) == 1


def test_who_is_silent_for_long_is_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "SWEEP_S", 0.02)
    monkeypatch.setattr(udp, "SILENT_S", 0.3)

    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 2)
            await until(lambda: not host.listening.udp[0].peers.known, "it is dropped")
            assert not host.bridge.presences.devices["stove-1"].online
            board.add(2)
            await until(lambda: host.bridge.presences.devices["stove-1"].online, "it greets again")
            await board.drained(20)
            board.unplug()

    asyncio.run(scene())


def test_while_all_are_held_the_socket_is_not_read_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            boards = [await plugged(tmp_path, host, f"stove-{n}", 2) for n in range(2)]
            link = host.listening.udp[0]
            assert link._reading
            host.bridge.pressure(True)
            assert not link._reading
            for board in boards:
                board.add(5)
            host.bridge.pressure(False)
            assert link._reading
            for board in boards:
                await board.drained(20)
                assert stored(tmp_path, board.log.stream) == board.log.created
            # One of them only: the socket is read, what it says is dropped.
            (first, *_) = link.peers.all()
            first.hold(True)
            assert link._reading
            for board in boards:
                board.add(1)
            await until(lambda: host.bridge.totals().get("udp_held"), "it is dropped")
            first.hold(False)
            for board in boards:
                await board.drained(20)
                board.unplug()
            # All gone while held: somebody new must still be heard.
            host.bridge.pressure(True)
            for peer in link.peers.all():
                peer.close()
            assert link._reading and link.held == 0
            host.bridge.pressure(False)

    asyncio.run(scene())


def test_a_board_without_a_key_is_refused_though_other_links_are_trusted(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP, trust={"links": ["serial", "tcp"]}) as host:
            board = UdpBoard("bare-1", None)
            board.add(1)
            await board.connect(host.listening.udp[0].address)
            await until(lambda: host.bridge.totals().get("unknown_device"), "it is refused")
            assert not ask(tmp_path, "SELECT * FROM streams")
            board.unplug()

    asyncio.run(scene())


def test_an_address_in_use_is_named_with_a_way_out(tmp_path: Path) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(NotReachable, match="it is in use") as refused:
                async with running(tmp_path, udp={"listen": [address]}):
                    pass
            assert "--udp HOST:PORT" in refused.value.advice

    asyncio.run(scene())


def test_what_came_before_the_stop_is_acknowledged(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            board = await plugged(tmp_path, host, "stove-1", 1)
            board.add(20)
            await until(lambda: host.commits.records or host.commits.committed == 21, "they are on their way")
        await until(lambda: board.acked == len(stored(tmp_path, board.log.stream)), "the last ACK")
        board.unplug()

    asyncio.run(scene())


class Unread(UdpLink):
    """The same link on a Unix socket: there a reader that is slow really makes the writer wait (EAGAIN)."""

    def _bound(self, family: int, address: peers.Address) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(self.path)
        return sock

    path = ""


class Talker:
    """A receiver that says more than the wire takes."""

    device: str | None = "stove-1"

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.said = 0

    def receive(self, data: bytes) -> None:
        self.writable()

    def writable(self) -> None:
        while self._wire.writable and self.said < 300:
            self._wire.write(b"%d" % self.said)
            self.said += 1

    def lost(self) -> None:
        pass


def test_a_full_socket_makes_writers_wait_and_bounds_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "BACKLOG_MAX", 16)
    talkers: list[Talker] = []

    def opened(name: str, kind: str, wire: Wire) -> Talker:
        talkers.append(Talker(wire))
        return talkers[-1]

    async def scene() -> None:
        Unread.path = str(tmp_path / "host")
        link = Unread("127.0.0.1", 0, opened, 10)
        await link.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as board:
            board.setblocking(False)
            board.bind(str(tmp_path / "board"))
            board.sendto(b"hello", Unread.path)
            await until(lambda: talkers, "it is opened")
            assert 16 <= talkers[0].said < 300 and len(link._backlog) == 16
            got = []

            def read() -> bool:
                try:
                    got.append(board.recv(100))
                except OSError as error:
                    assert error.errno == errno.EAGAIN
                assert len(link._backlog) <= 16
                return len(got) == 300

            await until(read, "all of it", 20)
            assert got == [b"%d" % n for n in range(300)]
        await link.close()

    asyncio.run(scene())
    assert Path(Unread.path).exists()


def test_a_tcp_board_and_a_udp_board_share_a_host(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, udp=UDP) as host:
            first = await plugged(tmp_path, host, "stove-1", 5)
            second = LightBoard("stove-2", key_of(tmp_path, "stove-2"))
            second.add(5)
            await second.connect(host.tcp[0].address)
            await second.drained()
            for board in (first, second):
                assert stored(tmp_path, board.log.stream) == board.log.created
                board.unplug()

    asyncio.run(scene())
