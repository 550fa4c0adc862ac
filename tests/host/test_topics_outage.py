"""Topics while connections break and the host is killed: at least once, recognisable when twice, in order."""

import asyncio
import contextlib
import random
import signal
import sqlite3
from pathlib import Path

import pytest
from meuse import catalog
from meuse.journal.batch import Batch, Binding, Row
from meuse.journal.database import FILE_NAME
from meuse.journal.sqlite import SqliteJournal
from meuse.links import steady
from meuse_protocol import columns, messages

from tests.brokers import Broker
from tests.firmware.virtual import wait_for
from tests.host.hosts import ask, host_of, key_of, running
from tests.host.light_board import until
from tests.host.readings_board import SCHEMA, ReadingsBoard, utc_ms
from tests.host.test_topics import heard_all, in_order, listening
from tests.topics_listener import Listener, validate

# How long a broker's word is that who calls is connected (MQTT 3.1.1, section 3.2).
CONNACK_BYTES = 4


class Cable:
    """Between host and broker: carries bytes until it is cut, in the middle of whatever is under way.

    Who calls again is connected again, while it is `plugged`. While it is `mute` the broker can say that who calls is
    connected, and nothing more.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.carried = 0  # bytes to the broker
        self.connections = 0
        self.plugged = True
        self.mute = False

    async def open(self) -> int:
        """Its own port."""
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self.plugged:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        await asyncio.gather(
            self._carry(reader, far_writer, True), self._carry(far_reader, writer, False), return_exceptions=True
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_broker: bool) -> None:
        passed = 0
        while data := await reader.read(1_000):
            if self.mute and not to_broker:
                data = data[: max(CONNACK_BYTES - passed, 0)]
            passed += len(data)
            writer.write(data)
            self.carried += len(data) * to_broker
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()


def test_a_connection_cut_anywhere_loses_nothing_and_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady, "LONGEST_S", 0.5)
    chance = random.Random(7)

    async def scene(broker: Broker) -> None:
        cable = Cable(broker.port)
        port = await cable.open()
        backend = Listener(broker.port)
        await listening(backend)
        async with running(tmp_path, mqtt={"url": f"mqtt://127.0.0.1:{port}"}) as host:
            boards = [ReadingsBoard(f"stove-{n}", key_of(tmp_path, f"stove-{n}")) for n in range(2)]
            for board in boards:
                board.begin()
                await board.connect(host.tcp[0].address)
            for _ in range(8):
                for board in boards:
                    for _ in range(40):
                        board.measure()
                target = cable.carried + chance.randrange(100, 12_000)
                await until(lambda least=target: cable.carried >= least, "something flows")  # type: ignore[misc]
                cable.cut()
            await heard_all(backend, *boards)
            for board in boards:
                board.unplug()
        await cable.close()
        backend.close()
        validate(backend.heard)
        for what in ("telemetry", "backfill"):
            in_order(tmp_path, backend, what)
        assert cable.connections > 8
        twice = len(backend.readings()) - len(set(backend.readings()))
        print(f"{len(set(backend.readings()))} readings over {cable.connections} connections, {twice} of them twice")

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_the_cursor_survives_a_kill_of_the_host(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    wanted = asyncio.run(fill(data, 5_000))
    with Broker("mosquitto", tmp_path / "broker") as broker:
        backend = Listener(broker.port)
        wait_for(lambda: backend.listens, "the backend listens")
        config = tmp_path / "meuse.toml"
        config.write_text(
            f'[host]\ndata = "{data}"\n[tcp]\nlisten = []\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        )
        with host_of(config) as host:
            wait_for(lambda: len(backend.readings()) > 100, "it publishes")
            wait_for(lambda: saved(data) > 0, "it has written how far it came")
            host.kill()
        killed_at = saved(data)
        wait_for(lambda: len(backend.readings()) >= killed_at - 3, "what was on its way arrives")
        with host_of(config) as host:
            wait_for(
                lambda: len(backend.heard) >= len(wanted) and wanted <= set(backend.readings()),
                "every reading is published",
            )
            wait_for(lambda: len(backend.of("_host/state")) >= 3, "this host is up, too")  # the first one's last will
            host.send_signal(signal.SIGTERM)
        backend.close()
    assert host.returncode == 0
    readings = backend.readings()
    twice = len(readings) - len(set(readings))
    print(f"killed with {killed_at} of {len(wanted)} written down; {twice} published twice")
    records = len(readings) + 1  # the schema is one
    assert twice <= records - killed_at  # nothing that was written down is published again
    first_again = next((at for at, row in enumerate(readings) if row in readings[:at]), 0)
    assert not twice or readings[first_again][1] > killed_at - 10
    in_order(data, backend, "telemetry")


def test_facts_are_whole_though_the_catalog_goes_on_while_they_are_read(tmp_path: Path) -> None:
    """Outside of a transaction: else records wait for a schema that has come, until the next one does."""
    asyncio.run(fill(tmp_path, 10))

    class Meanwhile(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            if "FROM anchors" in sql:
                with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
                    catalog.store(other, catalog.find(other), 1)
                    other.commit()
            return super().execute(sql, *values)  # type: ignore[arg-type]

    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME, factory=Meanwhile)) as db:
        assert (7, 1) in catalog.load(db).schemas


async def fill(data: Path, count: int) -> set[tuple[str, int, int]]:
    """A journal with so many readings of stove-1 that came just now -> what a backend must get."""
    now_ms = utc_ms()
    records = [messages.record(messages.SCHEMA, 1, *SCHEMA.to_body())]
    for seq in range(2, count + 2):
        records.append(messages.record(messages.SINGLE, seq, *columns.single(1, now_ms, [seq, 210, seq])))
    kinds = [messages.SCHEMA] + count * [messages.SINGLE]
    journal = await SqliteJournal.open(data / FILE_NAME, now_ms)
    rows = [Row(7, at + 1, kind, now_ms, "test", records[at]) for at, kind in enumerate(kinds)]
    await journal.commit(Batch(rows=rows, bindings=[Binding(7, "stove-1", now_ms, 1)]))
    await journal.close()
    return {("stove-1", seq, 0) for seq in range(2, count + 2)}


def saved(data: Path) -> int:
    """Id of the record up to which nothing is published again."""
    rows = ask(data, "SELECT position FROM cursors WHERE reader = 'topics'")
    return int(str(rows[0][0])) if rows else 0


def test_the_newest_values_are_made_good_after_a_kill(tmp_path: Path) -> None:
    """They are written seldom; what was published since is looked up in the journal."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(fill(data, 300))
    with Broker("mosquitto", tmp_path / "broker") as broker:
        config = tmp_path / "meuse.toml"
        config.write_text(
            f'[host]\ndata = "{data}"\n[tcp]\nlisten = []\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
        )
        with host_of(config) as host:
            wait_for(lambda: saved(data) >= 301, "all is published")
            with sqlite3.connect(data / FILE_NAME, timeout=30) as db:  # as if they had been written long ago
                host.kill()
                host.wait()
                db.execute("DELETE FROM topics_retained WHERE topic LIKE '%/latest'")
                db.execute("UPDATE topics_progress SET value = 0 WHERE key = 'shelved'")
            db.close()
        broker.kill()
        broker.start()
        backend = Listener(broker.port)
        wait_for(lambda: backend.listens, "the backend listens")
        with host_of(config) as host:
            wait_for(lambda: backend.of("latest"), "the newest values")
            host.kill()
        assert backend.of("latest")[0]["channels"]["pellets"]["seq"] == 301
        assert not backend.readings()
        backend.close()
