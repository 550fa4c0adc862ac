"""What a backend sees at real brokers: every reading, as docs/asyncapi.yaml says, whatever dies in between."""

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path

import pytest
from meuse.errors import HostError
from meuse.journal.database import FILE_NAME
from meuse.links import broker as broker_link
from meuse.run import Host
from meuse.topics import publisher
from meuse_protocol import messages

from tests.brokers import BROKERS, Broker
from tests.firmware.virtual import wait_for
from tests.host.hosts import ask, key_of, running
from tests.host.light_board import now_ms, until
from tests.host.readings_board import ReadingsBoard, utc_ms
from tests.topics_listener import Listener, validate

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "WATCH_S", 0.2)
    monkeypatch.setattr(publisher, "LATEST_S", 0.1)


def settings(broker: Broker, **more: object) -> dict[str, object]:
    return {"mqtt": {"url": f"mqtt://127.0.0.1:{broker.port}", **more}}


async def listening(listener: Listener) -> None:
    await until(lambda: listener.listens, "the backend listens")


async def connected(host: Host) -> None:
    await until(lambda: host.topics and host.topics.connected, "the broker")


async def heard_all(backend: Listener, *boards: ReadingsBoard) -> None:
    wanted = {row for board in boards for row in board.rows}
    await until(lambda: wanted <= set(backend.readings()), "every reading is published")


def in_order(data: Path, backend: Listener, kind: str) -> None:
    """Per device, first appearances are in the order in which the records came to the host."""
    came = {row: at for at, row in enumerate(ask(data, "SELECT stream, seq FROM records ORDER BY id"))}
    firsts = list(dict.fromkeys((form["device"], form["stream"], form["seq"]) for form in backend.of(kind)))
    for device in {device for device, _, _ in firsts}:
        order = [came[stream, seq] for one, stream, seq in firsts if one == device]
        assert order == sorted(order), (kind, device)


@pytest.mark.parametrize("kind", BROKERS)
def test_every_message_is_as_the_document_says(tmp_path: Path, kind: str) -> None:
    async def scene(broker: Broker) -> None:
        backend = Listener(broker.port)
        await listening(backend)
        async with running(tmp_path, **settings(broker, raw=True)) as host:
            await connected(host)
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            board.measure(5)
            old = board.measure(3, age_ms=HOUR_MS)
            board.measure(values=[None, [-1], 7])
            board.put(messages.BLOB, 2, None, b"door opened")
            board.put(messages.BLOB, 7, None, b"\x00\x01")
            board.put(messages.RESULT, 3, 0)
            board.lose(4)
            waiting = board.measure_without_clock(2, 5_000)
            await board.connect(host.tcp[0].address)
            await board.drained()
            await until(lambda: len(backend.readings()) == len(board.rows) - 1, "all but the undated one")
            board.put(messages.ANCHOR, 65_000, utc_ms(), 20, 2)
            await heard_all(backend, board)
            await until(lambda: [f["silent_sensors"] for f in backend.of("state") if f["silent_sensors"]], "silence")
            await until(lambda: [f for f in backend.of("event") if f["kind"] == "alert-firing"], "events", 60)
            board.unplug()
            await until(lambda: backend.of("state")[-1]["presence"] == "offline", "the board is seen to go")
        await until(lambda: backend.of("state", "_host/state"), "the end is told")
        backend.close()
        check(backend, board, old, waiting)

    def check(backend: Listener, board: ReadingsBoard, old: int, waiting: int) -> None:
        counts = validate(backend.heard)
        print(counts)
        assert counts["telemetry"] == counts["rawTelemetry"] == 2 and counts["backfill"] == 2
        assert backend.of("telemetry") == backend.of("raw/telemetry")
        assert [form["seq"] for form in backend.of("backfill")] == [old, waiting]
        batch, single = backend.of("telemetry")
        assert [row["row"] for row in batch["rows"]] == [0, 1, 2, 3, 4]
        assert [row["values"]["flue_temp"] for row in batch["rows"]] == [20.1, 20.2, 20.3, 20.4, 20.5]
        assert batch["units"] == {"flue_temp": "Cel", "room_temp": "Cel", "pellets": "kg"}
        assert single["rows"][0]["values"] == {"flue_temp": None, "room_temp": None, "pellets": 7}
        assert single["rows"][0]["quality"] == {"flue_temp": "missing", "room_temp": "device_missing"}
        (undated,) = backend.of("backfill")[1]["rows"]
        assert undated["time_quality"] == "repaired" and undated["uptime_ms"] == 5_000
        kinds = {form["kind"]: form for form in backend.of("event")}
        assert {"boot", "clock-set", "gap", "result", "unread-record", "board-says", "link-up"} <= set(kinds)
        assert kinds["gap"]["records"] == 4 and kinds["gap"]["reason"] == "log_full"
        alerts = {heard.topic.rpartition("/")[2] for heard in backend.heard if "/alert/" in heard.topic}
        assert alerts == {"sensor-flue_temp", "sensor-room_temp"}

    with Broker(kind, tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_that_dies_costs_no_reading_and_two_words(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def said(words: str) -> int:
        return sum(record.name == publisher.__name__ and words in record.getMessage() for record in caplog.records)

    async def scene(broker: Broker) -> None:
        backend = Listener(broker.port)
        await listening(backend)
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            boards = [ReadingsBoard(f"stove-{n}", key_of(tmp_path, f"stove-{n}")) for n in range(3)]
            for board in boards:
                board.begin()
                await board.connect(host.tcp[0].address)

            async def measure(count: int) -> None:
                for _ in range(count):
                    for board in boards:
                        board.measure()
                for board in boards:
                    await board.drained()

            await measure(50)
            await heard_all(backend, *boards)
            broker.kill()
            await measure(100)  # durable and acknowledged all the same
            await until(lambda: said("trying again"), "it is said")
            age(tmp_path)
            broker.start()
            wait_for(lambda: backend.listens, "the backend is back before the host")
            await measure(20)
            await heard_all(backend, *boards)
            await until(lambda: host.topics and not host.topics._late.last(), "nothing is left")
            for board in boards:
                board.unplug()
        validate(backend.heard)
        backend.close()
        for what in ("telemetry", "backfill"):
            in_order(tmp_path, backend, what)
        assert backend.of("backfill")
        twice = len(backend.readings()) - len(set(backend.readings()))
        print(f"{len(set(backend.readings()))} readings, {twice} of them twice")

    with Broker(kind, tmp_path / "broker") as broker:
        asyncio.run(scene(broker))
    assert said("trying again") == said("connected again") == 1


def age(data: Path) -> None:
    """An hour goes by: what the journal has came that long ago."""
    with contextlib.closing(sqlite3.connect(data / FILE_NAME, timeout=30)) as db, db:
        db.execute("UPDATE records SET received_ms = received_ms - ?", (HOUR_MS,))


def test_what_is_young_goes_before_the_backlog(tmp_path: Path) -> None:
    """The host was without a broker for long; what comes now is not behind all that."""

    async def scene(broker: Broker) -> None:
        board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
        board.begin()
        async with running(tmp_path) as host:
            for _ in range(1_000):
                board.measure()
            await board.connect(host.tcp[0].address)
            await board.drained()
            board.unplug()
        age(tmp_path)
        backend = Listener(broker.port)
        await listening(backend)
        async with running(tmp_path, **settings(broker)) as host:
            await until(lambda: len(backend.readings("backfill")) > 10, "the backlog flows")
            young = board.measure()
            await board.connect(host.tcp[0].address)
            await heard_all(backend, board)
            board.unplug()
        backend.close()
        assert [form["seq"] for form in backend.of("telemetry")] == [young]
        order = [heard.form["seq"] for heard in backend.heard if heard.kind in ("telemetry", "backfill")]
        print(f"{len(order) - order.index(young) - 1} of the backlog came after it")
        in_order(tmp_path, backend, "backfill")

    with Broker("nats", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_latest_is_by_measured_time_and_survives_a_restart(tmp_path: Path) -> None:
    async def scene(broker: Broker) -> None:
        board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
        board.begin()
        newest = board.measure()
        late = board.measure(age_ms=HOUR_MS)

        def shown(backend: Listener) -> list[int]:
            return [form["channels"]["flue_temp"]["seq"] for form in backend.of("latest")]

        first = Listener(broker.port)
        await listening(first)
        async with running(tmp_path, **settings(broker)) as host:
            await board.connect(host.tcp[0].address)
            await heard_all(first, board)
            await until(lambda: shown(first), "a latest value")
            board.unplug()
        first.close()
        assert late not in shown(first)
        broker.kill()
        broker.start()  # Mosquitto keeps nothing here
        second = Listener(broker.port)
        await listening(second)
        async with running(tmp_path, **settings(broker)) as host:
            await until(lambda: shown(second)[-1:] == [newest], "the host puts it there again")
            older = board.measure(age_ms=2 * HOUR_MS)
            await board.connect(host.tcp[0].address)
            await until(lambda: ("stove-1", older, 0) in second.readings(), "the late one is published")
            newer = board.measure()
            await until(lambda: shown(second)[-1] == newer, "a newer one")
            board.unplug()
        assert older not in shown(second)
        second.close()
        third = Listener(broker.port)
        await until(lambda: shown(third), "who comes later finds it")
        assert [heard.retained for heard in third.heard if heard.kind == "latest"] == [True]
        await until(lambda: [form["presence"] for form in third.of("state")] == ["offline"], "and that it is not there")
        third.close()

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_a_silent_board_is_told_from_one_that_went_and_a_heartbeat_is_enough(tmp_path: Path) -> None:
    async def scene(broker: Broker) -> None:
        backend = Listener(broker.port)
        await listening(backend)

        def presences() -> list[str]:
            return [form["presence"] for form in backend.of("state")]

        async with running(tmp_path, **settings(broker, silent_after="1s")) as host:
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            await board.connect(host.tcp[0].address)
            await until(lambda: "silent" in presences(), "the link is up, and nothing comes")
            await until(lambda: backend.of("alert/board-silent"), "that is worth an alert")
            heard = len(presences())
            board.endpoint._ask_time(now_ms())
            board._pump()
            await until(lambda: "online" in presences()[heard:], "it asked for the time: it is there")
            cleared = "meuse/default/default/stove-1/alert/board-silent"
            await until(lambda: [h for h in backend.heard if h.topic == cleared and not h.payload], "the alert is over")
            board.unplug()
            await until(lambda: presences()[-1] == "offline", "it went")
        backend.close()
        states = [form["state"] for form in backend.of("alert/board-silent")]
        assert states[:2] == ["firing", "resolved"]
        validate(backend.heard)

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_a_host_without_topics_waits_for_nobody(tmp_path: Path) -> None:
    async def scene(broker: Broker) -> None:
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
        assert ask(tmp_path, "SELECT count(*) FROM cursors WHERE reader = 'topics'") == [(1,)]
        async with running(tmp_path):
            pass
        assert ask(tmp_path, "SELECT count(*) FROM cursors WHERE reader = 'topics'") == [(0,)]

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_a_broker_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_link, "ANSWER_S", 0.3)

    async def scene() -> None:
        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1
            while await reader.read(1000):
                pass
            writer.close()

        calls = 0
        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with running(tmp_path, mqtt={"url": f"mqtt://127.0.0.1:{port}"}) as host:
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            await board.connect(host.tcp[0].address)
            await board.drained()
            await until(lambda: calls > 1, "it is tried again")
            board.unplug()
        server.close()
        await server.wait_closed()

    asyncio.run(scene())


def test_a_host_that_cannot_read_how_far_topics_are_says_so_and_leaves_nothing_running(tmp_path: Path) -> None:
    async def scene() -> None:
        topics = {"url": "mqtt://127.0.0.1:1"}
        async with running(tmp_path, mqtt=topics):
            pass
        rename(tmp_path, "topics_progress", "elsewhere")
        with pytest.raises(HostError, match="topics_progress"):
            async with running(tmp_path, mqtt=topics):
                pass
        assert len(asyncio.all_tasks()) == 1
        rename(tmp_path, "elsewhere", "topics_progress")
        async with running(tmp_path, mqtt=topics) as host:  # the folder is free again
            assert host.topics

    asyncio.run(scene())


def rename(data: Path, table: str, to: str) -> None:
    with contextlib.closing(sqlite3.connect(data / FILE_NAME)) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO {to}")
