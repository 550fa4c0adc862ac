"""Who may come to nats-servers of one's own: three in a cluster that ask two hosts, and any of them may be away."""

import asyncio
import json
import re
import stat
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from meuse.access import callout, nats_account, passwords, rights
from meuse.access import watch as access_watch
from meuse.access.backends import Backends
from meuse.access.register import Register
from meuse.config import read_settings
from meuse.errors import ConfigError, HostError, JournalError
from meuse.journal.sql import Database
from meuse.keys import KeyStore
from meuse.run import Host

from tests import access_matrix
from tests.access_matrix import TOPICS, Client, Matrix, Role, client, typed, wait_for
from tests.host.hosts import key_of, running, stored
from tests.host.light_board import until
from tests.host.test_access import own_user
from tests.host.test_access_matrix import coming, credentials, settle_in
from tests.host.test_command_topics import connected, form
from tests.nats_cluster import Cluster, Server
from tests.ports import free_port

OBSERVER = Role("host", "observer", "a password of the test's", "observer")


@pytest.fixture(autouse=True)
def clients_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # where secrets are written to
    monkeypatch.setattr(access_matrix, "PATIENCE_S", 150.0)  # who knocks between two hosts waits for 30 s
    yield
    access_matrix.finish()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of the first host; the second has its keys and its secrets."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for shared in ("keys", "access"):
        (tmp_path / "one" / shared).mkdir(mode=0o700)
        (tmp_path / "two" / shared).symlink_to(tmp_path / "one" / shared)
    return tmp_path / "one"


@pytest.fixture
def cluster(tmp_path: Path, data: Path) -> Iterator[Cluster]:
    """As `meuse access nats` says."""
    lines = tmp_path / "meuse-access.conf"
    typed(data, "nats", "--file", str(lines))
    with Cluster(tmp_path / "cluster", f'mqtt {{ listen: "127.0.0.1:MQTT_PORT" }}\n{lines.read_text()}') as servers:
        yield servers


def asked_by(cluster: Cluster) -> dict[str, object]:
    return {"access": {"nats": cluster.urls}}


def backend(data: Path, name: str) -> Role:
    return Role(name, f"acme_{name}", Backends(data).add("acme", name, False), f"acme_{name}")


def everywhere(servers: list[Server], role: Role) -> list[Client]:
    """One connection at each, as soon as it lets somebody in."""
    ids = [Role(role.name, role.user, role.password, f"{role.user}_{server.name}") for server in servers]
    return [coming(server.mqtt_port, each) for server, each in zip(servers, ids, strict=True)]


@asynccontextmanager
async def stopped_early(data: Path, **settings: object) -> AsyncIterator[tuple[Host, AsyncExitStack]]:
    """A host, and how to stop it before the test ends."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(running(data, **settings)), stack


def test_newcomers_get_in_when_the_first_server_of_the_list_is_killed(data: Path, cluster: Cluster) -> None:
    """And one in the list has never been there. (The other two need some seconds to agree without the third.)"""

    async def scene() -> None:
        here = backend(data, "here")
        settings = {"access": {"nats": [f"nats://127.0.0.1:{free_port()}", *cluster.urls]}}
        async with running(data, **settings), running(data.parent / "two", **settings):
            before = await asyncio.to_thread(everywhere, cluster.servers, here)
            cluster.servers[0].kill()
            newcomer = await asyncio.to_thread(backend, data, "newcomer")
            after = await asyncio.to_thread(everywhere, cluster.servers[1:], newcomer)
            assert all(one.here for one in [*before[1:], *after])

    asyncio.run(scene())


def test_at_a_server_that_hangs_a_connection_ends_when_it_goes_on(
    data: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callout, "AGAIN_S", 0.2)
    monkeypatch.setattr(callout, "GATHER_S", 0.5)

    async def scene() -> None:
        async with running(data, **asked_by(cluster)):
            gone = backend(data, "gone")
            first, *others = await asyncio.to_thread(everywhere, cluster.servers, gone)
            cluster.servers[0].pause()
            typed(data, "revoke", gone.user)
            await until(lambda: all(one.ended for one in others), "it is thrown out where it can be")
            assert not first.ended
            cluster.servers[0].go_on()
            await until(lambda: first.ended, "and where it could not")

    asyncio.run(scene())


def test_whoever_let_somebody_in_any_host_ends_it_and_nobody_else(data: Path, cluster: Cluster) -> None:
    async def scene() -> None:
        """The second host knows of one server only, by which it answers and sees all three."""
        stays, first, second, third = (backend(data, name) for name in ("stays", "first", "second", "third"))
        staying: list[Client] = []
        async with stopped_early(data, **asked_by(cluster)) as (_, one):
            for role in (stays, first, second):
                staying += await asyncio.to_thread(everywhere, cluster.servers, role)
            async with stopped_early(data.parent / "two", access={"nats": cluster.urls[1]}) as (_, two):
                typed(data, "revoke", first.user)
                await end_of(staying, first)
                await one.aclose()  # one of two goes
                assert here(staying) == {stays.user, second.user}
                staying += await asyncio.to_thread(everywhere, cluster.servers, third)
                typed(data, "revoke", second.user)  # which the host that has gone has let in
                await end_of(staying, second)
                await two.aclose()
        typed(data, "revoke", third.user)  # while no host runs
        assert here(staying) == {stays.user, third.user}
        async with running(data, **asked_by(cluster)):
            await end_of(staying, third)
        assert here(staying) == {stays.user} and len([one for one in staying if one.here]) == 3

    asyncio.run(scene())


async def end_of(clients: list[Client], role: Role) -> None:
    theirs = [one for one in clients if one.role.user == role.user]
    assert len(theirs) == 3
    await until(lambda: all(one.ended for one in theirs), f"{role.user} is thrown out at every server")


def here(clients: list[Client]) -> set[str]:
    return {one.role.user for one in clients if one.here}


def test_everybody_may_what_is_theirs_and_nothing_else_in_a_cluster(data: Path, cluster: Cluster) -> None:
    """Every other role of the table in test_access_matrix; the host is at another server than they."""

    async def scene() -> None:
        known = credentials(data)
        async with running(data, **asked_by(cluster)) as host:
            await settle_in(host)
            host.access.register.fixed[OBSERVER.user] = (OBSERVER.password, rights.EVERYTHING)
            first, second, _ = cluster.servers
            (await asyncio.to_thread(coming, first.mqtt_port, OBSERVER)).close()
            matrix = Matrix(second.mqtt_port, known, OBSERVER, first.mqtt_port)
            matrix.roles = matrix.roles[::2]
            await asyncio.to_thread(matrix.check)
        assert sum(matrix.counts.values()) > 500

    asyncio.run(scene())


@pytest.mark.link(
    "mqtt", board="light client on the shared protocol", wire="nats-servers in a cluster", host="meuse run"
)
def test_the_hosts_own_connections_come_in_by_the_users_that_it_makes(data: Path, cluster: Cluster) -> None:
    """Topics and commands by `_topics`, boards by `_link`, all at different servers."""
    first, second, third = (server.mqtt_port for server in cluster.servers)
    files = {user: nats_account.password_file(data, user) for user in (rights.TOPICS, rights.BOARDS)}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files.values())
    topics = {"url": f"mqtt://_topics@127.0.0.1:{first}", "password_file": str(files[rights.TOPICS])}
    boards = {"url": f"mqtt://_link@127.0.0.1:{second}", "password_file": str(files[rights.BOARDS])}

    async def scene() -> None:
        stoves = Role("stoves", "acme_stoves", Backends(data).add("acme", "stoves", True), "acme_stoves")
        async with running(
            data,
            **asked_by(cluster),
            mqtt={**topics, "commands": True, "discovery": "homeassistant"},
            mqtt_link=[boards],
        ) as host:
            backend = await asyncio.to_thread(coming, third, stoves)
            backend.subscribe(["meuse/acme/#"])
            board = await own_user(data, "stove-1", "acme")
            await host.access.look()
            board.add(20)
            board.enter(third, "acme")
            await board.drained()
            assert len(stored(data, board.log.stream)) == 20
            under = "meuse/acme/default/stove-1"
            await until(lambda: heard(backend, f"{under}/state"), "it is published")
            await connected(host)
            backend.publish([f"{under}/command"], json.dumps(form("x")).encode())
            await until(lambda: heard(backend, f"{under}/command/x"), "the host answers")
            board.unplug()
            host.access.register.fixed[OBSERVER.user] = (OBSERVER.password, rights.EVERYTHING)
            await asyncio.to_thread(no_more_than_theirs, files, first, third)

    asyncio.run(scene())


def heard(one: Client, topic: str) -> bool:
    return any(name == topic for name, _, _ in one.heard.copy())


def no_more_than_theirs(files: dict[str, Path], port: int, other: int) -> None:
    """What the two users may say and hear: all that the host does, and nothing else."""
    ours = [t for t in TOPICS if t.startswith(("meuse/", "homeassistant/"))]
    for user, writes, reads in (
        (rights.TOPICS, set(ours), {t for t in ours if t.endswith("/command")}),
        (rights.BOARDS, of_links("down"), of_links("up")),
    ):
        role = Role(user, user, files[user].read_text().strip(), f"meuse-host-{user[1:]}")
        with client(port, role) as one, client(other, OBSERVER) as everything:
            granted = one.subscribe(list(TOPICS))
            assert {topic for topic, good in zip(TOPICS, granted, strict=True) if good} == reads
            everything.subscribe(["#"])
            said = f"by {user}".encode()
            one.publish(list(TOPICS), said)
            wait_for(lambda said=said, writes=writes: everything.topics(said) >= writes, f"{user} is heard")  # type: ignore[misc]
            assert everything.topics(said) == writes


def of_links(way: str) -> set[str]:
    return {topic for topic in TOPICS if topic.startswith("meuse-link/") and topic.endswith(f"/{way}")}


def test_nobody_else_can_be_called_as_the_host_is(tmp_path: Path) -> None:
    """Not by the commands, and not by a file that somebody has put there."""
    keys, backends = KeyStore(tmp_path / "keys"), Backends(tmp_path)
    register = Register(keys, backends, {})
    for user in (rights.TOPICS, rights.BOARDS):
        for words in (("device", user), ("add", user[1:], "--tenant", ""), ("rotate", user), ("revoke", user)):
            with pytest.raises(HostError):
                typed(tmp_path, *words)
        key = key_of(tmp_path, "stove-1")
        (tmp_path / f"keys/{user}.key").write_text(key.hex())
        password = backends.add("acme", user[1:], True)
        there = backends.path(f"acme_{user[1:]}")
        there.with_name(f"{user}.json").write_text(there.read_text().replace("acme", ""))
        assert register.admit(f"acme_{user[1:]}", password)
        for wrong in (password, passwords.of_board(key), ""):
            assert register.admit(user, wrong) is None
    assert keys.devices() == ["stove-1"]


def test_more_connections_than_one_answer_holds_are_all_judged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callout, "PAGE", 3)
    monkeypatch.setattr(callout, "OVERLAP", 1)
    monkeypatch.setattr(callout, "COMING_S", 0.0)  # they are found by what the server lists

    async def scene() -> None:
        async with running(data, mqtt={"embedded": True}) as host:
            assert host.broker
            port = host.broker.access.port
            roles = [backend(data, f"b{number}") for number in range(8)]
            clients = [await asyncio.to_thread(coming, port, role) for role in roles]
            for number in (7, 0, 3):
                typed(data, "revoke", roles[number].user)
                await until(lambda number=number: clients[number].ended, "it is thrown out")  # type: ignore[misc]
            assert [one.here for one in clients] == [number not in (7, 0, 3) for number in range(8)]

    asyncio.run(scene())


def test_a_revocation_holds_though_the_journal_cannot_be_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the moment when it is noticed."""
    look, away = access_watch.moves, False

    def moves(db: Database) -> int:
        nonlocal away
        if away:
            away = False
            raise JournalError("away")
        return look(db)

    monkeypatch.setattr(access_watch, "moves", moves)
    monkeypatch.setattr(callout, "LOOK_S", 600.0)  # it is not found by chance

    async def scene() -> None:
        nonlocal away
        async with running(data, mqtt={"embedded": True}) as host:
            assert host.broker
            gone = backend(data, "gone")
            one = await asyncio.to_thread(coming, host.broker.access.port, gone)
            away = True
            typed(data, "revoke", gone.user)
            await until(lambda: one.ended, "it is thrown out")
            assert not away

    asyncio.run(scene())


def test_who_is_in_stays_while_nobody_can_read_whether_they_may(tmp_path: Path) -> None:
    keys, backends = KeyStore(tmp_path / "keys"), Backends(tmp_path)
    register = Register(keys, backends, {})
    password = backends.add("acme", "grafana", False)
    admitted = register.admit("acme_grafana", password)
    assert admitted
    path = backends.path("acme_grafana")
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path)  # ELOOP
    assert register.holds("acme_grafana", admitted.mark) and register.admit("acme_grafana", password) is None
    path.unlink()
    assert not register.holds("acme_grafana", admitted.mark)


def test_what_another_host_lets_in_that_knows_less_ends(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes here: it is found by looking every now and then."""
    monkeypatch.setattr(callout, "LOOK_S", 0.5)

    async def scene() -> None:
        async with running(data, mqtt={"embedded": True}) as host:
            assert host.broker
            other = Register(KeyStore(data / "keys"), Backends(data), {})
            other.fixed["fired"] = ("a password of the test's", rights.READER)
            theirs = callout.Callout(other, host.broker.account, [host.broker.access.client_url])
            answering = asyncio.create_task(theirs.run())
            await theirs.ready.wait()
            fired = Role("fired", "fired", "a password of the test's", "fired")
            one = await asyncio.to_thread(coming, host.broker.access.port, fired)
            await until(lambda: one.ended, "it is thrown out")
            answering.cancel()
            await asyncio.wait([answering])

    asyncio.run(scene())


def test_the_settings_in_the_document_are_settings(root: Path) -> None:
    blocks = re.findall(r"```toml\n(\[access\].*?)```", (root / "docs/access.md").read_text(), re.DOTALL)
    found = read_settings(tomllib.loads(*blocks), "access.md")
    assert len(found.access.nats) == 3
    for user, place in ((rights.TOPICS, found.mqtt), (rights.BOARDS, found.mqtt_link[0])):
        assert f"//{user}@" in place.url
        assert place.password_file == str(nats_account.password_file(Path(found.host.data), user))


@pytest.mark.parametrize("nats", ["nats://one:4222", ["nats://one:4222"], ["nats://one:4222", "tls://two"]])
def test_one_address_or_a_list_of_them(nats: object) -> None:
    found = read_settings({"access": {"nats": nats}}, "test").access.nats
    assert found == ([nats] if isinstance(nats, str) else nats)


@pytest.mark.parametrize(
    "nats", ["", "one:4222", ["nats://one", "http://two"], "nats://me@one", "nats://one:x", [1], 1]
)
def test_what_is_no_address_is_refused(nats: object) -> None:
    with pytest.raises(ConfigError, match=r"access\.nats"):
        read_settings({"access": {"nats": nats}}, "test")
