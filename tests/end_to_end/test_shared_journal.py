"""Two hosts with one journal in PostgreSQL, killed in turn, and PostgreSQL with them, while boards change sides.

Real: both hosts (`meuse run`), PostgreSQL, sockets. The boards are light ones on the shared protocol, whose logs
outlive everything. A kill takes away processes, not the disk: that a commit outlives a power cut is PostgreSQL's own
promise (fsync, synchronous_commit = on, which this server runs with).
"""

import asyncio
import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse.journal import postgres as connections
from meuse.postgres import Address
from meuse_protocol.received import RangeSet

from tests.end_to_end.river import MEUSE
from tests.host.hosts import key_of
from tests.host.light_board import LightBoard, until
from tests.ports import free_port
from tests.postgres import Postgres

SEED = 20251
BOARDS = 8
BLOWS = ["one", "postgres", "two", "postgres"]


class SharedHost:
    """`meuse run` on a folder of its own and the common journal; every host has the same keys."""

    def __init__(self, folder: Path, address: Address, keys: Path, more: str = "") -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        (self.data / "keys").symlink_to(keys)
        self.config = folder / "meuse.toml"
        self.config.write_text(
            f'[host]\ndata = "{self.data}"\n[tcp]\nlisten = ["{self.address}"]\n'
            f'[journal]\nurl = "{address.url}"\nlake = false\n{more}'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.data / "log").open("ab") as log:
            words = [str(MEUSE), "run", "--config", str(self.config)]
            self.process = subprocess.Popen(words, stdout=log, stderr=log)

    def tend(self) -> None:
        """As systemd does: a host that begins while PostgreSQL is away says so and ends."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        return (self.data / "log").read_text()

    def meuse(self, *words: str) -> str:
        done = subprocess.run([str(MEUSE), *words, "--config", str(self.config)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def durable() -> Iterator[Postgres]:
    """A server of this test's own, to be killed, that writes as one in earnest."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@contextlib.contextmanager
def two_hosts(tmp_path: Path, address: Address) -> Iterator[list[SharedHost]]:
    keys = tmp_path / "keys"
    keys.mkdir()
    hosts = [SharedHost(tmp_path / name, address, keys) for name in ("one", "two")]
    try:
        for host in hosts:
            host.start()
        yield hosts
    finally:
        for host in hosts:
            host.kill()


async def connect(board: LightBoard, host: SharedHost) -> None:
    """If anybody is there."""
    try:
        await board.connect(host.address)
    except OSError:
        board.unplug()


async def live(board: LightBoard, hosts: list[SharedHost], stop: asyncio.Event, chance: random.Random) -> None:
    """Makes records; when its host is gone, or now and then, it goes to another."""
    while not stop.is_set():
        if not board.plugged:
            await connect(board, chance.choice(hosts))
        if board.made - board.acked < 40:
            board.add(chance.randint(1, 4))
        if board.plugged and chance.random() < 0.02:
            board.unplug()  # with frames and acknowledgements under way
        await asyncio.sleep(0.02)


async def tend(hosts: list[SharedHost]) -> None:
    while True:
        for host in hosts:
            host.tend()
        await asyncio.sleep(0.2)


async def drain(boards: list[LightBoard], hosts: list[SharedHost]) -> None:
    async def one(board: LightBoard, at: int) -> None:
        deadline = time.monotonic() + 120
        while board.acked < board.made:
            assert time.monotonic() < deadline, [host.log()[-2000:] for host in hosts]
            if not board.plugged:
                await connect(board, hosts[at % 2])
            await asyncio.sleep(0.05)
        board.unplug()

    await asyncio.gather(*(one(board, at) for at, board in enumerate(boards)))


def people(hosts: list[SharedHost]) -> None:
    """What is typed on either machine says the same."""
    for host in hosts:
        shown = host.meuse("devices", "--json").splitlines()
        assert len(shown) == BOARDS
        host.meuse("tail", "--for", "0", "-n", "1", "--format", "csv")
        assert "answers" in host.meuse("run", "--check")
        assert host.meuse("query", "--format", "csv").startswith("device,")
    assert "queued" in hosts[0].meuse("send", "b-0", "fan", "on=1", "--id", "one")
    assert "queued" in hosts[1].meuse("send", "b-0", "fan", "on=1", "--id", "one")


def test_nothing_acknowledged_is_lost_or_doubled_whoever_is_killed(tmp_path: Path, durable: Postgres) -> None:
    address = durable.database()
    chance = random.Random(SEED)

    async def scene(hosts: list[SharedHost]) -> list[LightBoard]:
        boards = [LightBoard(f"b-{number}", key_of(hosts[0].data, f"b-{number}")) for number in range(BOARDS)]
        stop = asyncio.Event()
        lives = [
            asyncio.create_task(live(board, hosts, stop, random.Random(SEED + at))) for at, board in enumerate(boards)
        ]
        tending = asyncio.create_task(tend(hosts))
        await until(lambda: all(board.acked > 0 for board in boards), "every board is served")
        for blow in BLOWS:
            enough = sum(board.acked for board in boards) + 40
            if blow == "postgres":
                durable.kill()
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                await asyncio.to_thread(durable.start)
            else:
                host = hosts[blow == "two"]
                host.kill()
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                host.start()
            began = time.monotonic()
            await until(lambda enough=enough: sum(board.acked for board in boards) > enough, f"on after {blow}")
            print(f"{blow}: {time.monotonic() - began:.1f} s until 40 more were acknowledged")
        stop.set()
        await asyncio.gather(*lives)
        await drain(boards, hosts)
        await asyncio.to_thread(people, hosts)
        tending.cancel()
        return boards

    with two_hosts(tmp_path, address) as hosts:
        boards = asyncio.run(scene(hosts))
    db = connections.open_reader(address)
    for board in boards:
        stream = board.log.stream
        seqs = [seq for (seq,) in db.execute("SELECT seq FROM records WHERE stream = ? ORDER BY seq", (stream,))]
        assert seqs == list(range(1, board.made + 1))
        sets = db.execute("SELECT received, gapped FROM streams WHERE stream = ?", (stream,))
        received, gapped = sets.fetchone()
        assert RangeSet.from_bytes(received).ranges() == [(1, board.made)] and gapped == b""
    assert db.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM events WHERE kind = 'conflict'").fetchone() == (0,)
    db.close()
    print(sum(board.made for board in boards), "records")
