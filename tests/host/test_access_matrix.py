"""Every role, every topic, every client id, at the host's own nats-server and at Debian's Mosquitto."""

import asyncio
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse.access import mosquitto, passwords
from meuse.access.backends import Backends
from meuse.access.rights import BOARDS as BOARDS_USER
from meuse.access.rights import TOPICS as TOPICS_USER
from meuse.access.rights import of_topics
from meuse.identity import Home, move
from meuse.keys import KeyStore
from meuse.run import Host
from meuse.topics import embedded

from tests import access_matrix
from tests.access_matrix import BACKENDS, BOARDS, TOPICS, Client, Matrix, Role, client, roles, typed, wait_for
from tests.bench.baselines import listening
from tests.brokers import program
from tests.host.hosts import key_of, running
from tests.ports import free_port


@pytest.fixture(autouse=True)
def clients_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # where secrets are written to
    yield
    access_matrix.finish()


def credentials(data: Path) -> dict[str, str]:
    """user -> password, of everybody in the table."""
    known = {board: passwords.of_board(key_of(data, board)) for board in BOARDS}
    for user, (tenant, commands) in BACKENDS.items():
        known[user] = Backends(data).add(tenant, user.partition("_")[2], commands)
    return known


def told(matrix: Matrix, broker: str) -> None:
    print(f"{broker}: {sum(matrix.counts.values())} cells: {json.dumps(matrix.counts)}")
    assert sum(matrix.counts.values()) > 1000


async def settle_in(host: Host) -> None:
    for board, tenant in BOARDS.items():
        await host.journal.write(lambda db, board=board, tenant=tenant: move(db, board, tenant, "hall", 1))  # type: ignore[misc]
    await host.access.look()


def observer(host: Host) -> Role:
    assert host.broker
    access = host.broker.access
    return Role("host", embedded.HOST_USER, access.passwords[embedded.HOST_USER], "observer")


def test_everybody_may_what_is_theirs_and_nothing_else_with_nats(tmp_path: Path) -> None:
    async def scene() -> None:
        known = credentials(tmp_path)
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            await settle_in(host)
            assert host.broker
            matrix = Matrix(host.broker.access.port, known, observer(host))
            await asyncio.to_thread(matrix.check)
            await asyncio.to_thread(ends_with_nats, matrix)
        told(matrix, "nats-server")

    asyncio.run(scene())


def ends_with_nats(matrix: Matrix) -> None:
    """The server's other users, and what else a client id may be."""
    board, other, reads = matrix.roles[0], matrix.roles[1], matrix.roles[3]
    for user, password, client_id, comes in (
        (board.user, board.password, "anything", False),
        (board.user, board.password, other.client_id, False),
        (board.user, board.password, "", True),  # then the server makes one up
        (reads.user, reads.password, f"{reads.user}_2", True),
        (reads.user, reads.password, "one_commands_2", False),
        (reads.user, reads.password, "meuse-host-1", False),
        (matrix.host.user, matrix.host.password, board.client_id, False),
        (matrix.host.user, matrix.host.password, f"{reads.user}_2", False),
        ("meuse-access", "", "meuse-access", False),
        ("meuse-system", "", "meuse-system", False),
    ):
        role = Role("id", user, password, client_id)
        with client(matrix.port, role) as one:
            assert one.came == comes, (user, client_id)
        matrix._count("client id")


class Mosquitto:
    """Debian's, on the files that Meuse writes; a second listener lets everybody do everything, for who looks on."""

    def __init__(self, folder: Path) -> None:
        self.port, self.open_port = free_port(), free_port()
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, without: str = "") -> None:
        """With the very lines that Meuse has written, but for the port, and for one line when that is to be missed."""
        config = (self.folder / mosquitto.CONFIG).read_text()
        assert without in config
        config = "".join(line for line in config.splitlines(True) if not (without and without in line))
        assert "listener 8883\n" in config
        more = f"\nlistener {self.open_port} 127.0.0.1\nallow_anonymous true\n"
        more += "user root\n" if os.geteuid() == 0 else ""
        own = config.replace("listener 8883\n", f"listener {self.port} 127.0.0.1\n") + more
        (self.folder / "test.conf").write_text(own)
        words = [program("mosquitto", "mosquitto"), "-c", str(self.folder / "test.conf")]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        assert listening(self.port, self.process), (self.folder / "log").read_text()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def test_everybody_may_what_is_theirs_and_nothing_else_with_mosquitto(tmp_path: Path) -> None:
    known = credentials(tmp_path)
    folder = tmp_path / "mosquitto"
    register = registered(tmp_path)
    assert mosquitto.write(folder, register, of_topics("homeassistant"))
    assert not mosquitto.write(folder, register, of_topics("homeassistant"))  # nothing has changed
    server = Mosquitto(folder)
    server.start()
    try:
        matrix = Matrix(server.port, known, Role("host", "", "", "observer"), server.open_port)
        matrix.check()
        the_hosts_own_users(server, folder)
        told(matrix, "Mosquitto")
    finally:
        server.stop()
    for path in folder.glob("meuse.*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("line", ["use_username_as_clientid", "acl_file", "password_file"])
def test_the_table_finds_what_is_missing(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_matrix, "PATIENCE_S", 2.0)
    known = credentials(tmp_path)
    folder = tmp_path / "mosquitto"
    mosquitto.write(folder, registered(tmp_path), of_topics(""))
    server = Mosquitto(folder)
    server.start(without=line)
    try:
        with pytest.raises(AssertionError):
            Matrix(server.port, known, Role("host", "", "", "observer"), server.open_port).check()
    finally:
        server.stop()


def registered(data: Path) -> "mosquitto.Register":
    homes = {board: Home(tenant, "hall") for board, tenant in BOARDS.items()}
    return mosquitto.Register(KeyStore(data / "keys"), Backends(data), homes)


def the_hosts_own_users(server: Mosquitto, folder: Path) -> None:
    """The two that the host connects with may what it does, and no more."""
    link = Role("link", BOARDS_USER, mosquitto.own(folder, BOARDS_USER), "x")
    topics = Role("topics", TOPICS_USER, mosquitto.own(folder, TOPICS_USER), "x")
    with (
        client(server.open_port, Role("all", "", "", "all")) as everything,
        client(server.port, link) as boards,
        client(server.port, topics) as backends,
    ):
        everything.subscribe(["#"])
        boards.publish(list(TOPICS), b"by link")
        backends.publish(list(TOPICS), b"by topics")
        everything.publish(["elsewhere/end"], b"end")
        wait_for(lambda: everything.topics(b"end"), "the end")
        assert everything.topics(b"by link") == {
            t for t in TOPICS if t.startswith("meuse-link/") and t.endswith("/down")
        }
        wanted = {t for t in TOPICS if t.startswith(("meuse/", "homeassistant/"))}
        assert everything.topics(b"by topics") == wanted


@pytest.mark.parametrize("user", ["board-a", "one_commands"])
def test_a_revocation_ends_a_connection_at_nats(tmp_path: Path, user: str) -> None:
    """From another process; also another password, and another tenant."""

    async def scene() -> None:
        known = credentials(tmp_path)
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            await settle_in(host)
            assert host.broker
            await asyncio.to_thread(revoked, tmp_path, host.broker.access.port, known, user)

    asyncio.run(scene())


def revoked(data: Path, port: int, known: dict[str, str], user: str) -> None:
    (role,) = (role for role in roles(known) if role.user == user)
    others = [Client(port, other) for other in roles(known) if other != role]
    one = Client(port, role)
    assert one.here and all(other.here for other in others)
    typed(data, "revoke", user)
    wait_for(lambda: one.ended, "it is thrown out")
    one.close()
    with client(port, role) as again:
        assert not again.came
    file = data / "again.password"
    typed(data, "rotate", user, "--file", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    renewed = Role(role.name, user, file.read_text().strip(), role.client_id)
    one = coming(port, renewed)
    typed(data, "rotate", user, "--file", str(file))  # the one before holds once more
    third = Role(role.name, user, file.read_text().strip(), role.client_id)
    assert one.here
    one.close()
    one = coming(port, third)
    typed(data, "rotate", user, "--file", str(file))
    typed(data, "rotate", user, "--file", str(file))  # and now it does not
    wait_for(lambda: one.ended, "its password is two changes old")
    one.close()
    assert all(other.here for other in others)
    for other in others:
        other.close()


def coming(port: int, role: Role) -> Client:
    """Until the host has noticed."""
    found: list[Client] = []

    def try_it() -> bool:
        found.append(Client(port, role))
        if not found[-1].came:
            found[-1].close()
        return found[-1].came

    wait_for(try_it, f"{role.name} may come")
    return found[-1]


def test_a_revocation_ends_a_connection_at_mosquitto(tmp_path: Path) -> None:
    async def scene() -> None:
        known = credentials(tmp_path)
        folder = tmp_path / "mosquitto"
        async with running(tmp_path, access={"mosquitto": str(folder)}) as host:
            await settle_in(host)
            server = Mosquitto(folder)
            await asyncio.to_thread(server.start)
            try:
                await asyncio.to_thread(ends_at_mosquitto, tmp_path, server.port, known)
            finally:
                server.stop()

    asyncio.run(scene())


def ends_at_mosquitto(data: Path, port: int, known: dict[str, str]) -> None:
    everybody = {role.user: Client(port, role) for role in roles(known)}
    assert all(one.here for one in everybody.values())
    for user in ("board-a", "one_reads"):
        typed(data, "revoke", user)
        wait_for(lambda user=user: everybody[user].ended, f"{user} is thrown out")  # type: ignore[misc]
    for user, one in everybody.items():
        assert one.here == (user not in ("board-a", "one_reads")), user
        one.close()
    with client(port, roles(known)[0]) as again:
        assert not again.came
