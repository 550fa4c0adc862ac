"""What people see while the host runs: values, rates and backlog in lines, and the same for other processes."""

import asyncio
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse import bridge, housekeeping
from meuse.latest import Latest
from meuse.live import Line, View
from meuse_protocol import columns, messages
from meuse_protocol.reactions import Needed
from meuse_protocol.schema import Schema
from rich.console import Console

from tests.host.hosts import ask, events, key_of, running
from tests.host.light_board import LightBoard, until
from tests.shared.memory_log import MemoryLog

SCHEMA = Schema(1, "stove", 1000, [("flue_temp", "Cel", -1, 0), ("door", "", 0, 0), ("room_temp", "Cel", -2, 0)])
MEUSE = str(Path(sys.executable).with_name("meuse"))


def measured(board: LightBoard, rows: list[list[object]]) -> None:
    """One DATA record whose last row was measured now."""
    now_s = int(time.time())
    body = columns.encode(1, [now_s - len(rows) + 1 + n for n in range(len(rows))], rows)
    board.endpoint.record_added(board.log.append(messages.DATA, *body))
    board.add(0)


def test_values_rates_and_latency_in_lines_and_in_a_table(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            latest = Latest(host.journal)
            view = View(host.bridge, latest, Console(file=io.StringIO()))
            await board.connect(host.tcp[0].address)
            board.announce(SCHEMA)
            await board.drained()
            await latest.look()
            (line,) = view.lines()
            assert (line.device, line.values) == ("stove-1", [])
            measured(board, [[1803, 0, 2110], [1811, 1, [-3]]])
            await board.drained()
            await until(lambda: host.journal.last_id == 2, "both records")
            await latest.look()
            (line,) = view.lines()
            assert line.values == ["flue_temp 181.1 °C", "door 1", "room_temp open"]
            assert line.link == "tcp:127.0.0.1"
            assert line.waiting == 0
            assert latest.rows == {"stove-1": 2}

            shown = io.StringIO()
            Console(file=shown, width=120).print(view.table())
            assert "flue_temp 181.1" in shown.getvalue()
            board.unplug()
            await until(lambda: next(iter(view.lines())).link == "away", "it has gone")

    asyncio.run(scene())


def test_other_processes_see_who_is_there(tmp_path: Path) -> None:
    def devices() -> dict[str, object]:
        done = subprocess.run([MEUSE, "devices", "--data", str(tmp_path), "--json"], capture_output=True, check=True)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(3)
            await board.connect(host.tcp[0].address)
            await board.drained()
            await host.status.write()
            seen = await asyncio.to_thread(devices)
            assert (seen["device"], seen["online"], seen["link"]) == ("stove-1", True, "tcp:127.0.0.1")
            assert (seen["stored"], seen["awaited"]) == (3, 0)
            numbers = dict(ask(tmp_path, "SELECT key, value FROM host_status"))
            assert (numbers["committed"], numbers["failing"]) == ("3", "")
            assert 0 < int(str(numbers["link.frames"])) <= host.bridge.totals()["frames"]
            board.unplug()
            await until(lambda: "link-lost" in events(tmp_path), "it has gone")
            await host.status.write()
            assert (await asyncio.to_thread(devices))["online"] is False

    asyncio.run(scene())


def test_a_host_that_lost_its_journal_asks_for_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "ASK_AFTER_S", 0.05)
    key = key_of(tmp_path / "first", "stove-1")
    (tmp_path / "second/keys").mkdir(parents=True)
    (tmp_path / "second/keys/stove-1.key").write_text(key.hex())

    async def scene() -> None:
        log = MemoryLog(0x80000001)
        for folder, asked in (("first", messages.NEED_ANCHOR), ("second", messages.NEED_SCHEMA)):
            board = LightBoard("stove-1", key, log)
            if log.next_seq() == 1:
                board.announce(SCHEMA)
            board.endpoint.schemas = [[SCHEMA.sid, SCHEMA.hash4()]]
            async with running(tmp_path / folder) as host:
                await board.connect(host.tcp[0].address)
                await until(lambda: needs(board), "a wish")  # noqa: B023
                assert needs(board)[0].what == asked
                await until(lambda: log.oldest() == 2, "the schema is durable, and forgotten")
                board.unplug()

    def needs(board: LightBoard) -> list[Needed]:
        return [event for event in board.events if isinstance(event, Needed)]

    asyncio.run(scene())


def test_a_reader_that_stands_still_is_an_alarm(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(3)
            await board.connect(host.tcp[0].address)
            await board.drained()
            board.unplug()

            def aged(db: sqlite3.Connection) -> None:
                db.execute("UPDATE records SET received_ms = received_ms - ?", (3 * housekeeping.DAY_MS,))
                db.execute("INSERT OR REPLACE INTO cursors VALUES('mirror', 1, 0)")

            await host.journal.write(aged)
            told: list[tuple[str, str | None, str]] = []
            keeping = housekeeping.keep(host.journal, host.clock, 1, ("mirror",), lambda *event: told.append(event))
            task = asyncio.create_task(keeping)
            await until(lambda: told, "the alarm")
            assert ("reader-behind", None, "mirror") in told
            left = await host.journal.read(lambda db: db.execute("SELECT id FROM records").fetchall())
            assert left == [(2,), (3,)]  # too old to keep, but one reader has not seen them
            task.cancel()

    asyncio.run(scene())


def test_at_80_columns_only_values_are_cut(tmp_path: Path) -> None:
    class Lines(View):
        def lines(self) -> Iterator[Line]:
            yield Line(
                "building-1", "serial:/dev/serial/by-id/usb-x-if00", ["water 842.355 m3", "co2 451.0 ppm"], 0.7, 0, 7
            )
            yield Line("a" * 32, "away", ["[red]" * 9], 10.3, 1234, 1200)

    async def scene() -> None:
        async with running(tmp_path) as host:
            for height in (30, 8):  # one value a line where the screen is tall enough
                shown = io.StringIO()
                console = Console(file=shown, width=80, height=height)
                console.print(Lines(host.bridge, Latest(host.journal), console).table())
                text = shown.getvalue()
                assert max(map(len, text.splitlines())) <= 80
                for whole in ("building-1", "serial …b-x-if00", "water 842.35", "1234", "1200 ms", "[red]"):
                    assert whole in text
                assert ("co2 451.0 ppm" in text) == (height == 30)

    asyncio.run(scene())


def test_what_a_replaced_log_never_sent_is_not_waited_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            key = key_of(tmp_path, "stove-1")
            old, new = LightBoard("stove-1", key), LightBoard("stove-1", key)
            old.add(5)
            del old.log._kept[5]  # its number was used, but it was lost before it was sent
            await old.connect(host.tcp[0].address)
            known = host.bridge.presences.devices
            await until(lambda: known and host.bridge.backlog(known["stove-1"]) == 1, "one is waited for")
            old.unplug()
            await new.connect(host.tcp[0].address)
            new.add(2)
            await new.drained()
            assert host.bridge.backlog(known["stove-1"]) == 0
            new.unplug()

    asyncio.run(scene())
