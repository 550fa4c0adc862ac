"""A device gets another tenant or site while two hosts share a journal and the one that leads publishes topics.

Real: PostgreSQL, nats-server and Mosquitto, `meuse access device` typed on either machine; where somebody is killed
the hosts are `meuse run`. The boards are light clients on the shared protocol.
"""

import asyncio
import subprocess
import threading
from pathlib import Path

import pytest
from meuse import run
from meuse.access import watch
from meuse.identity import Home, homes, move, moves
from meuse.journal import postgres as connections
from meuse.postgres import Address
from meuse.topics.publisher import Publisher

from tests.brokers import BROKERS, Broker
from tests.end_to_end.river import MEUSE
from tests.end_to_end.test_shared_journal import SharedHost
from tests.firmware.virtual import wait_for
from tests.host.hosts import key_of
from tests.host.light_board import until
from tests.host.readings_board import ReadingsBoard
from tests.host.test_host_commands import DEVICE
from tests.host.test_topics import heard_all, hurry, listening
from tests.host.test_two_hosts import Pair, pair
from tests.postgres import Postgres
from tests.topics_listener import Listener

__all__ = ["hurry"]


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts in this process."""
    monkeypatch.setattr(watch, "LOOK_S", 0.2)


KINDS = ("latest", "state")


def under(tenant: str, site: str, *kinds: str) -> set[str]:
    return {f"meuse/{tenant}/{site}/{DEVICE}/{kind}" for kind in kinds or KINDS}


def stands(port: int) -> set[str]:
    """Topics of devices that somebody gets who comes now."""
    backend = Listener(port)
    wait_for(lambda: any(heard.topic == "meuse/_host/state" for heard in backend.heard.copy()), "what is retained")
    backend.close()
    # nats-server may send what is retained behind the news that it is cleared.
    last = {heard.topic: heard.payload for heard in backend.heard if heard.retained or not heard.payload}
    return {topic for topic, payload in last.items() if payload and "/_host/" not in topic}


async def until_stands(port: int, wanted: set[str]) -> None:
    """Exactly this and nothing else, before long."""
    found: set[str] = set()
    for _ in range(60):
        found = await asyncio.to_thread(stands, port)
        if found == wanted:
            return
        await asyncio.sleep(0.2)
    assert found == wanted


def typed(config: Path, *words: str) -> None:
    """On the machine with this configuration, by a process that knows nothing else."""
    line = [str(MEUSE), "access", "device", DEVICE, *words, "--config", str(config)]
    done = subprocess.run(line, cwd=config.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def goes_on(backend: Listener, board: ReadingsBoard, tenant: str, site: str) -> None:
    """New readings come under this name, all of them and only there."""
    before = len(backend.heard)
    board.measure(3)
    await heard_all(backend, board)
    topics = {heard.topic for heard in backend.heard[before:] if heard.kind in ("telemetry", "backfill")}
    assert topics == under(tenant, site, "telemetry")


@pytest.mark.parametrize("kind", BROKERS)
def test_a_move_takes_along_what_stands_whichever_host_has_the_board(
    tmp_path: Path, postgres: Postgres, hurry: None, kind: str
) -> None:
    """Typed where no host leads, with the board at that host; then with the board at the one that leads."""

    async def scene(both: Pair, config: Path, port: int) -> None:
        backend = Listener(port)
        await listening(backend)
        board = ReadingsBoard(DEVICE, key_of(tmp_path / "one", DEVICE))
        board.begin()
        await board.connect(both.address(1))
        await goes_on(backend, board, "default", "default")
        await until_stands(port, under("default", "default"))
        for at, tenant, site in ((1, "acme", "hall"), (0, "umbrella", "yard")):
            board.unplug()
            await board.connect(both.address(at))
            await asyncio.to_thread(typed, config, "--tenant", tenant, "--site", site)
            await until_stands(port, under(tenant, site))
            await goes_on(backend, board, tenant, site)
        assert [host.topics is not None for host in both.hosts] == [True, False]
        board.unplug()
        backend.close()

    async def play(broker: Broker) -> None:
        address = await asyncio.to_thread(postgres.database)
        async with pair(tmp_path, address, {"mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}"}}) as both:
            config = tmp_path / "two" / "meuse.toml"
            config.write_text(f'[host]\ndata = "{tmp_path / "two"}"\n[journal]\nurl = "{address.url}"\n')
            await scene(both, config, broker.port)

    with Broker(kind, tmp_path / "broker") as broker:
        asyncio.run(play(broker))


def test_a_move_while_the_next_host_takes_over_is_not_missed(
    tmp_path: Path, postgres: Postgres, hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the next one has read where devices are, and publishes nothing yet."""
    opened, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Publisher):
        async def open(self) -> None:
            await super().open()
            opened.set()
            await go_on.wait()

    async def scene(both: Pair, port: int) -> None:
        board = ReadingsBoard(DEVICE, key_of(tmp_path / "one", DEVICE))
        board.begin()
        await board.connect(both.address(1))
        board.measure(3)
        await until_stands(port, under("default", "default"))
        monkeypatch.setattr(run, "Publisher", Slow)
        opened.clear()
        go_on.clear()
        await both.stop(0)
        await asyncio.wait_for(opened.wait(), 60)
        home = Home("acme", "hall")
        await both.hosts[1].journal.write(lambda db: move(db, DEVICE, home.tenant, home.site, 1))
        await until(lambda: both.hosts[1].access.register.homes.get(DEVICE) == home, "this host has noticed")
        go_on.set()
        await until_stands(port, under("acme", "hall"))
        board.unplug()

    async def play(broker: Broker) -> None:
        address = await asyncio.to_thread(postgres.database)
        monkeypatch.setattr(run, "Publisher", Slow)
        go_on.set()
        async with pair(tmp_path, address, {"mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}"}}) as both:
            await scene(both, broker.port)

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(play(broker))


def test_the_next_host_clears_what_a_killed_one_left_under_the_old_name(tmp_path: Path, postgres: Postgres) -> None:
    """Killed at once, before it can know of the move; the next one, when it has just begun with the new name."""

    async def scene(hosts: list[SharedHost], port: int) -> None:
        one, two = hosts
        backend = Listener(port)
        await listening(backend)
        board = ReadingsBoard(DEVICE, key_of(one.data, DEVICE))
        board.begin()
        one.start()
        await until(lambda: leads(one), "the first one leads")
        two.start()
        await serves(board, two)
        board.measure(3)
        await until_stands(port, under("default", "default"))
        await asyncio.to_thread(typed, two.config, "--tenant", "acme", "--site", "hall")
        one.kill()
        await until_stands(port, under("acme", "hall"))
        await goes_on(backend, board, "acme", "hall")
        one.start()
        board.unplug()
        await serves(board, one)
        await asyncio.to_thread(typed, one.config, "--tenant", "umbrella")
        news = under("umbrella", "hall", "latest")
        await until(lambda: any({heard.topic} == news for heard in backend.heard.copy()), "it has begun")
        two.kill()
        await asyncio.to_thread(typed, one.config, "--tenant", "acme", "--site", "yard")
        await until_stands(port, under("acme", "yard"))
        await goes_on(backend, board, "acme", "yard")
        board.unplug()
        backend.close()

    with Broker("mosquitto", tmp_path / "broker") as broker:
        address = postgres.database()
        (tmp_path / "keys").mkdir()
        more = f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        hosts = [SharedHost(tmp_path / name, address, tmp_path / "keys", more) for name in ("one", "two")]
        try:
            asyncio.run(scene(hosts, broker.port))
        finally:
            for host in hosts:
                host.kill()


def leads(host: SharedHost) -> bool:
    return "this host leads (host)" in host.log()


async def serves(board: ReadingsBoard, host: SharedHost) -> None:
    """As soon as it listens."""
    while not board.plugged:
        try:
            await board.connect(host.address)
        except OSError:
            await asyncio.sleep(0.05)


def test_of_two_moves_at_once_neither_goes_unnoticed(postgres: Postgres, tmp_path: Path) -> None:
    """Typed on two machines: who looks between their commits looks again."""
    address = postgres.database()
    asyncio.run(made(tmp_path, address))
    one, two = connections.open_writer(address), connections.open_writer(address)
    one.execute("BEGIN IMMEDIATE")
    move(one, "stove-1", "acme", None, 1)

    def other() -> None:
        two.execute("BEGIN IMMEDIATE")
        move(two, "stove-2", "umbrella", None, 1)
        two.execute("COMMIT")

    thread = threading.Thread(target=other)
    thread.start()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    wait_for(lambda: postgres.sql(waits)[0][0], "the second one waits for the first")
    between = moves(one)
    one.execute("COMMIT")
    thread.join()
    assert moves(one) != between
    assert {device: home.tenant for device, home in homes(one).items()} == {"stove-1": "acme", "stove-2": "umbrella"}
    one.close()
    two.close()


async def made(folder: Path, address: Address) -> None:
    """The tables."""
    from meuse.journal.shared import PostgresJournal

    await (await PostgresJournal.open(address, 1)).close()
