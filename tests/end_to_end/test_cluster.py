"""The whole way over a cluster as processes: `meuse run`, JetStream on three servers, `meuse work`, PostgreSQL.

Each process of ours is killed (kill -9) in the middle of its work; afterwards every reading is in the store once.
"""

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.river import MEUSE, Host
from tests.host.hosts import key_of
from tests.host.light_board import until
from tests.host.readings_board import ReadingsBoard
from tests.host.stores import good, rows, truths
from tests.host.truths import stored
from tests.nats_cluster import Cluster
from tests.postgres import Postgres

BOARDS = 4


@contextmanager
def worker(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`meuse work store` as a process, which does not outlive the test."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(MEUSE), "work", "store", "--config", str(config)], stdout=out, stderr=out, cwd=config.parent
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def configured(folder: Path, cluster: Cluster, url: str, journal: str = "") -> Path:
    path = folder / "meuse.toml"
    path.write_text(
        f'[host]\ndata = "{folder / "data"}"\n[store]\nurl = "{url}"\n'
        f"[cluster]\npartitions = 3\nservers = {json.dumps(cluster.urls)}\n"
        + (f'[journal]\nlake = false\nurl = "{journal}"\n' if journal else "")
    )
    return path


def test_whoever_is_killed_every_reading_is_in_the_store_once(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database().url
    with Cluster(tmp_path / "nats") as cluster:
        config = configured(tmp_path, cluster, url)
        host = Host(tmp_path / "data", config=config)
        try:
            asyncio.run(_scene(tmp_path, config, host, url))
            said = stored(tmp_path / "data")
        finally:
            if host.process:
                host.process.kill()
                host.process.wait()
    assert truths(url) == said
    assert rows(url, "SELECT count(*) - count(DISTINCT (stream, seq, row, channel)) FROM readings") == [(0,)]


async def _scene(folder: Path, config: Path, host: Host, url: str) -> None:
    boards = [ReadingsBoard(f"stove-{n}", key_of(folder / "data", f"stove-{n}")) for n in range(BOARDS)]
    made = 0

    async def arrives(what: str) -> None:
        await until(lambda: good(url) == made, f"{made} records are in the store {what}", 120)

    async def measure(count: int) -> None:
        nonlocal made
        for _ in range(count):
            for board in boards:
                board.measure(rows=3)
        made += count * len(boards)
        for board in boards:
            await board.drained()

    async def plug() -> None:
        for board in boards:
            await board.connect(f"127.0.0.1:{host.port}")

    await asyncio.to_thread(host.start)
    await plug()
    for board in boards:
        board.begin()
    with worker(config, folder / "first.log") as first, worker(config, folder / "second.log") as second:
        await measure(10)
        await arrives("at first")
        await measure(10)
        first.kill()  # whatever it had just then
        await measure(10)
        await arrives("after a worker was killed")
        second.send_signal(signal.SIGSTOP)
        with worker(config, folder / "third.log"):
            await measure(10)
            await arrives("while a worker stands still")
            second.send_signal(signal.SIGCONT)  # and finishes what others have done
            await measure(10)
            assert host.process
            host.process.kill()
            await asyncio.to_thread(host.process.wait)
            for board in boards:
                board.unplug()
            await asyncio.to_thread(host.start)
            await plug()
            await measure(10)
            await arrives("after the host was killed")
    for board in boards:
        board.unplug()
    assert host.process
    host.process.terminate()
    assert await asyncio.to_thread(host.process.wait) == 0


def test_of_two_hosts_with_one_journal_either_may_go(tmp_path: Path, postgres: Postgres) -> None:
    """The one that distributes is killed, the boards and the distributing go over to the other; then the other way."""
    url, journal = postgres.database().url, postgres.database().url
    with Cluster(tmp_path / "nats") as cluster:
        config = configured(tmp_path, cluster, url, journal)
        hosts = [Host(tmp_path / name, config=config) for name in ("data", "other")]
        try:
            boards = asyncio.run(_two(tmp_path, config, hosts, url))
        finally:
            for host in hosts:
                if host.process:
                    host.process.kill()
                    host.process.wait()
    found = rows(url, "SELECT DISTINCT device, seq, row FROM readings WHERE channel = 'flue_temp' ORDER BY 1, 2, 3")
    assert found == sorted(row for board in boards for row in board.rows)
    assert rows(url, "SELECT count(*) - count(DISTINCT (stream, seq, row, channel)) FROM readings") == [(0,)]
    assert rows(url, "SELECT count(*) FROM meuse_waiting") == [(0,)]


async def _two(folder: Path, config: Path, hosts: list[Host], url: str) -> list[ReadingsBoard]:
    boards = []
    for number in range(BOARDS):
        device = f"stove-{number}"
        boards.append(ReadingsBoard(device, key_of(folder / "data", device)))
    shutil.copytree(folder / "data" / "keys", folder / "other" / "keys")
    made = 0
    for host in hosts:
        await asyncio.to_thread(host.start)
    for board in boards:
        board.begin()
    with worker(config, folder / "worker.log"):
        for number, host in enumerate([*hosts, hosts[0]]):
            for board in boards:
                board.unplug()
                await board.connect(f"127.0.0.1:{host.port}")
            for _ in range(10):
                for board in boards:
                    board.measure(rows=3)
            made += 10 * len(boards)
            for board in boards:
                await board.drained()
            if number < len(hosts):
                host.kill()
                if number == 1:  # both are gone for a moment: the first comes back alone
                    await asyncio.to_thread(hosts[0].start)
        await until(lambda: good(url) == made, f"{made} records are in the store", 120)
    for board in boards:
        board.unplug()
    return boards
