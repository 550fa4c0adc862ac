"""A host that sends all it has on to another one: every record once, under its own number, by whatever way it came.

Real hosts, in the test's process or in one of their own; the boards are light clients on the shared protocol.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from meuse.config import read_settings
from meuse.errors import ConfigError, JournalError
from meuse.keys import KeyStore
from meuse.run import Host
from meuse.upstream.task import FOLDER
from meuse_protocol.messages import NEED_SCHEMA

from tests.end_to_end.river import MEUSE
from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import LightBoard, until
from tests.ports import free_port

EDGE = "edge-1"


def share_keys(edge: Path, upstream: Path) -> None:
    """As a person copies them: the boards' keys, and those that only the two hosts share."""
    (upstream / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in ("keys", "upstream-keys"):
        for path in (edge / folder).glob("*.key"):
            shutil.copy2(path, upstream / "keys")


def board_of(edge: Path, upstream: Path, device: str) -> LightBoard:
    board = LightBoard(device, key_of(edge, device))
    share_keys(edge, upstream)
    return board


def address_of(host: Host) -> str:
    return f"tcp://{host.tcp[0].address}"


@asynccontextmanager
async def edge_of(edge: Path, upstream: Path, url: str, **tables: object) -> AsyncIterator[Host]:
    """The edge host; its keys are known upstream before it calls there."""
    KeyStore(edge / FOLDER).provision(EDGE)
    share_keys(edge, upstream)
    async with running(edge, upstream={"url": url, "name": EDGE}, **tables) as host:
        yield host


def stored_by_now(upstream: Path, stream: int) -> dict[int, bytes]:
    """As `stored`, also of a host that has only just been started."""
    try:
        return stored(upstream, stream)
    except JournalError:
        return {}


async def arrived(upstream: Path, *boards: LightBoard) -> None:
    """All that each board ever made is stored upstream, byte for byte."""
    for board in boards:
        await until(
            lambda board=board: stored_by_now(upstream, board.log.stream) == board.log.created,  # type: ignore[misc]
            f"{board.device} is upstream",
        )


def test_what_an_edge_host_has_arrives_upstream_once_and_boards_are_seen_there(tmp_path: Path) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"

    async def scene() -> None:
        async with running(up) as host:
            boards = [board_of(edge, up, f"stove-{n}") for n in range(3)]
            async with edge_of(edge, up, address_of(host)) as near:
                for board in boards:
                    board.add(200)
                    await board.connect(near.tcp[0].address)
                await asyncio.gather(*(board.drained() for board in boards))
                await arrived(up, *boards)
                links = {known.device: known.link for known in host.bridge.presences.devices.values()}
                assert links["stove-0"].startswith("tcp:") and links["stove-0"].endswith(f"via {EDGE}")
                assert host.bridge.totals().get("violations", 0) == 0
                newest = ask(edge, "SELECT max(id) FROM records")[0][0]
                where = "SELECT position FROM cursors WHERE reader = 'upstream'"
                await until(lambda: ask(edge, where) == [(newest,)], "the edge's purge may go on")
                for board in boards:
                    board.unplug()

    asyncio.run(scene())
    assert "upstream-up" in events(edge)


def test_a_week_of_outage_is_made_up_also_when_the_edge_host_restarts_in_between(tmp_path: Path) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"

    async def scene() -> None:
        board = board_of(edge, up, "stove-1")
        async with edge_of(edge, up, url) as near:
            board.add(3_000)
            await board.connect(near.tcp[0].address)
            await board.drained()
            board.unplug()
        async with edge_of(edge, up, url) as near, running(up, tcp={"listen": [f"127.0.0.1:{port}"]}):
            board.add(50)
            await board.connect(near.tcp[0].address)
            await board.drained()
            await arrived(up, board)
            board.unplug()
        async with running(up, tcp={"listen": [f"127.0.0.1:{port}"]}) as host, edge_of(edge, up, url) as near:
            before = host.commits.committed
            board.add(10)
            await board.connect(near.tcp[0].address)
            await arrived(up, board)
            await until(lambda: host.commits.committed >= before + 10, "it is counted")
            assert host.commits.committed == before + 10
            assert host.bridge.totals().get("duplicates", 0) <= 32, "what was acknowledged is not sent again"
            board.unplug()

    asyncio.run(scene())


def test_a_stream_that_comes_by_two_ways_is_stored_once_and_a_hole_is_filled_later(tmp_path: Path) -> None:
    """First a part goes to the edge host, a part straight upstream, then the edge hears of numbers below others."""
    up, edge = tmp_path / "up", tmp_path / "edge"

    async def scene() -> None:
        async with running(up) as host, edge_of(edge, up, address_of(host)) as near:
            board = board_of(edge, up, "stove-1")
            board.add(40)
            await board.connect(near.tcp[0].address)
            await board.drained()
            board.unplug()
            await arrived(up, board)
            board.add(40)
            await board.connect(host.tcp[0].address)
            await board.drained()
            board.unplug()
            board.add(40)
            await board.connect(near.tcp[0].address)
            await board.drained()
            await arrived(up, board)
            board.unplug()

    asyncio.run(scene())


def test_gaps_and_a_stream_begun_anew_are_told_upstream(tmp_path: Path) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"

    async def scene() -> None:
        async with running(up) as host, edge_of(edge, up, address_of(host)) as near:
            board = board_of(edge, up, "stove-1")
            board.add(20)
            board.log.drop_oldest(5, 1)
            gone = range(1, 6)
            await board.connect(near.tcp[0].address)
            await board.drained()
            board.unplug()
            kept = {seq: record for seq, record in board.log.created.items() if seq not in gone}
            await until(lambda: stored(up, board.log.stream) == kept, "what is left is upstream")
            rows = "SELECT first_seq, last_seq, reason FROM gaps WHERE stream = ? ORDER BY first_seq"
            assert ask(up, rows, board.log.stream) == ask(edge, rows, board.log.stream)
            again = board_of(edge, up, "stove-1")
            again.add(5)
            await again.connect(near.tcp[0].address)
            await again.drained()
            await arrived(up, again)
            again.unplug()
            closed = "SELECT stream FROM streams WHERE closed_ms IS NOT NULL"
            assert ask(up, closed) == ask(edge, closed) == [(board.log.stream,)]

    asyncio.run(scene())


def test_a_board_without_a_key_has_one_upstream(tmp_path: Path) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"
    master, slave = os.openpty()
    tty.setraw(slave)
    port = {"port": os.ttyname(slave)}

    async def scene() -> None:
        async with running(up) as host, edge_of(edge, up, address_of(host), serial=[port]) as near:
            board = LightBoard("probe-1", None)
            board.add(30)
            board.plug(master)
            await board.drained()
            await until(lambda: (edge / "upstream-keys" / "probe-1.key").exists(), "it is given a key")
            assert stored(up, board.log.stream) == {}
            share_keys(edge, up)
            await arrived(up, board)
            board.unplug()
            assert near.bridge.totals().get("violations", 0) == 0

    asyncio.run(scene())
    os.close(slave)
    os.close(master)


def test_what_upstream_wants_of_a_board_reaches_it_and_an_edge_host_gives_no_commands(tmp_path: Path) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"

    async def scene() -> None:
        async with running(up) as host, edge_of(edge, up, address_of(host)) as near:
            board = board_of(edge, up, "stove-1")
            board.add(1)
            await board.connect(near.tcp[0].address)
            await arrived(up, board)
            session = host.bridge.session_of("stove-1")
            assert session is not None
            session.command(board.log.stream, 1, [1, 100_000], "heater", [1])
            session.need(board.log.stream, NEED_SCHEMA, [7])
            await until(
                lambda: {type(event).__name__ for event in board.events} >= {"Command", "Needed"}, "it is asked"
            )
            board.unplug()
            config = edge / "meuse.toml"
            config.write_text(f'[host]\ndata = "{edge}"\n[upstream]\nurl = "{address_of(host)}"\nname = "{EDGE}"\n')
            done = await asyncio.to_thread(
                subprocess.run,
                [MEUSE, "send", "stove-1", "heater", "on=1", "--config", config],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 2 and "host upstream" in done.stderr

    asyncio.run(scene())


@pytest.mark.parametrize("victim", ["edge", "upstream"])
def test_killed_in_mid_stream_nothing_is_lost_or_doubled(tmp_path: Path, victim: str) -> None:
    up, edge = tmp_path / "up", tmp_path / "edge"
    ports = {"edge": free_port(), "upstream": free_port()}
    KeyStore(edge / FOLDER).provision(EDGE)
    configs = {"edge": edge / "meuse.toml", "upstream": up / "meuse.toml"}
    up.mkdir()
    configs["edge"].write_text(
        f'[host]\ndata = "{edge}"\n[tcp]\nlisten = ["127.0.0.1:{ports["edge"]}"]\n'
        f'[upstream]\nurl = "tcp://127.0.0.1:{ports["upstream"]}"\nname = "{EDGE}"\n'
    )
    configs["upstream"].write_text(f'[host]\ndata = "{up}"\n[tcp]\nlisten = ["127.0.0.1:{ports["upstream"]}"]\n')

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(MEUSE), "run", "--config", str(configs[name])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def keep_plugged(board: LightBoard) -> None:
        while True:
            if not board.plugged:
                with contextlib.suppress(OSError):
                    await board.connect(f"127.0.0.1:{ports['edge']}")
            await asyncio.sleep(0.05)

    async def scene(hosts: dict[str, subprocess.Popen[bytes]]) -> None:
        boards = [board_of(edge, up, f"stove-{n}") for n in range(2)]
        keeping = [asyncio.create_task(keep_plugged(board)) for board in boards]
        for _ in range(4):
            before = boards[0].acked
            for board in boards:
                board.add(300)
            await until(lambda before=before: boards[0].acked > before, "it flows")  # type: ignore[misc]
            hosts[victim].send_signal(signal.SIGKILL)
            hosts[victim].wait()
            hosts[victim] = start(victim)
        for board in boards:
            await board.drained()
        await arrived(up, *boards)
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        for board in boards:
            board.unplug()

    hosts = {name: start(name) for name in configs}
    try:
        asyncio.run(scene(hosts))
    finally:
        for host in hosts.values():
            host.kill()
            host.wait()


@pytest.mark.parametrize(
    ("upstream", "says"),
    [
        ({"url": "http://host:1", "name": EDGE}, "upstream.url"),
        ({"url": "tcp://host", "name": EDGE}, "HOST:PORT"),
        ({"url": "tcp://host:7878"}, "upstream.name"),
        ({"url": "tcp://host:7878", "name": EDGE, "ca": "x.pem"}, "tls://"),
        ({"name": EDGE}, "upstream.url"),
    ],
)
def test_bad_settings_say_what_to_change(upstream: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"upstream": upstream}, "test")
    assert says in f"{caught.value.message} {caught.value.advice}"
