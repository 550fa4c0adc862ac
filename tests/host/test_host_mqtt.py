"""The running host behind a real broker: stored means acknowledged, whoever speaks on whatever topic."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from meuse import bridge
from meuse.errors import ConfigError
from meuse.links import broker_link, mqtt
from meuse.run import Host
from meuse_protocol.messages import ACK, NEED, NEED_HELLO

from tests.brokers import Broker
from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import until
from tests.host.mqtt_board import MqttBoard
from tests.mqtt_listener import Listener


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker("nats", tmp_path / "broker") as broker:
        yield broker


def link_of(host: Host) -> mqtt.MqttLink:
    (link,) = (link for link in host.listening.links if isinstance(link, mqtt.MqttLink))
    return link


def settings(broker: Broker, **more: object) -> dict[str, object]:
    return {"tcp": {"listen": []}, "mqtt_link": [{"url": f"mqtt://127.0.0.1:{broker.port}", **more}]}


async def connected(host: Host) -> mqtt.MqttLink:
    link = link_of(host)
    await until(lambda: link._connection is not None, "the broker", 20)
    return link


async def said(info: paho.MQTTMessageInfo) -> None:
    await until(info.is_published, "the broker has it", 20)


@pytest.mark.link("mqtt", board="light client on the shared protocol", wire="real nats-server", host="meuse run")
def test_what_is_acknowledged_is_in_the_journal_and_any_msgpack_opens_it(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        client = Listener(broker.port)
        await until(lambda: client.listens, "the client listens", 20)
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(200)
            board.connect_to(broker.port)
            await board.drained(30)
            assert stored(tmp_path, board.log.stream) == board.log.created
            board.unplug()
        client.close()
        ups = client.arrays("meuse-link/default/stove-1/up")
        downs = client.arrays("meuse-link/default/stove-1/down")
        print(f"200 records: {len(ups)} messages up, {len(downs)} down")
        assert len(ups) >= 200 and downs

    asyncio.run(scene())


def test_who_speaks_is_what_the_mac_says_and_answers_go_where_the_packet_came_from(
    tmp_path: Path, broker: Broker
) -> None:
    async def scene() -> None:
        client = Listener(broker.port)
        await until(lambda: client.listens, "the client listens", 20)
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            key_of(tmp_path, "victim-1")
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(10)
            board.connect_to(broker.port, "default/victim-1")
            await board.drained(30)
            thief = MqttBoard("victim-1", bytes(32))
            thief.add(3)
            thief.connect_to(broker.port, "default/stove-1")
            await until(lambda: host.bridge.totals().get("bad_hello"), "the thief is noticed", 20)
            assert ask(tmp_path, "SELECT device FROM streams") == [("stove-1",)]
            assert thief.acked == 0
            board.unplug()
            thief.unplug()
        client.close()
        assert ACK in [array[0] for array in client.arrays("meuse-link/default/victim-1/down")]
        assert ACK not in [array[0] for array in client.arrays("meuse-link/default/stove-1/down")]

    asyncio.run(scene())


def test_strangers_take_no_more_than_the_room_there_is(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "STRANGER_S", 0.5)

    async def scene() -> None:
        async with running(tmp_path, **settings(broker, max_devices=4)) as host:
            link = await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            board.connect_to(broker.port)
            await board.drained(30)
            client = Listener(broker.port)
            for number in range(30):
                await said(client.say(f"meuse-link/default/stranger-{number}/up", b"\x93\x01\x02\x03" + bytes(8)))
                assert len(host.bridge.sessions) <= 4
            await said(client.say("meuse-link/default/NO.DEVICE/up", b"\x93\x01\x02\x03"))
            await until(lambda: link.foreign, "foreign topics are counted", 20)
            assert link.evicted >= 26
            board.add(5)
            await board.drained(30)
            await until(lambda: len(host.bridge.sessions) <= 1, "strangers are dropped", 20)
            client.close()
            board.unplug()

    asyncio.run(scene())


def test_a_giant_message_costs_one_connection_and_nothing_else(tmp_path: Path) -> None:
    """3 MB, which Mosquitto lets through as it comes from Debian."""

    async def scene() -> None:
        with Broker("mosquitto", tmp_path / "broker") as broker:
            await deluge(broker)

    async def deluge(broker: Broker) -> None:
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host)
            first = link._connection
            client = Listener(broker.port)
            await said(client.say("meuse-link/default/stove-1/up", bytes(3_000_000)))
            # Given up in the middle, or, where it came in one piece after all, no packet.
            refused = lambda: link._connection is not first or host.bridge.totals().get("damaged")  # noqa: E731
            await until(refused, "it is refused", 20)
            await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            board.connect_to(broker.port)
            await board.drained(30)
            client.close()
            board.unplug()

    asyncio.run(scene())


def test_while_the_queue_is_full_nothing_is_read_and_nothing_is_lost(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(1)
            board.connect_to(broker.port)
            await board.drained(30)
            host.bridge.pressure(True)
            client = Listener(broker.port)
            frames = host.bridge.totals()["frames"]
            board.add(100)
            for _ in range(300):
                await said(client.say("meuse-link/default/stove-1/up", b"\x93\x01\x02\x03" + bytes(8)))
            assert host.bridge.totals()["frames"] == frames
            assert len(stored(tmp_path, board.log.stream)) == 1
            host.bridge.pressure(False)
            await board.drained(30)
            assert stored(tmp_path, board.log.stream) == board.log.created
            client.close()
            board.unplug()

    asyncio.run(scene())


def test_a_broker_that_goes_and_comes_back_is_told_once_each(
    tmp_path: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def said(words: str) -> int:
        return sum(record.name == broker_link.__name__ and words in record.getMessage() for record in caplog.records)

    async def scene() -> None:
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            board.connect_to(broker.port)
            await board.drained(30)
            broker.kill()
            await until(lambda: not host.bridge.sessions, "sessions are lost", 20)
            await until(lambda: link.attempts >= 3, "it is refused again and again", 20)
            broker.start()
            await until(lambda: said("connected again"), "its return is said", 30)
            board.add(5)
            await board.drained(30)
            board.unplug()

    asyncio.run(scene())
    assert said("trying again") == said("connected again") == 1
    assert events(tmp_path).count("link-lost") == 1


def test_a_host_that_starts_asks_who_is_there(tmp_path: Path, broker: Broker) -> None:
    key_of(tmp_path, "stove-1")

    async def scene() -> None:
        client = Listener(broker.port)
        await until(lambda: client.listens, "the client listens", 20)
        async with running(tmp_path, **settings(broker)):
            await until(lambda: client.heard, "a call", 20)
        client.close()
        (array,) = client.arrays("meuse-link/default/stove-1/down")
        assert array[0] == NEED and array[2] == NEED_HELLO

    asyncio.run(scene())


def test_the_last_will_ends_the_session(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            board.connect_to(broker.port)
            await board.drained(30)
            client = Listener(broker.port)
            await said(client.say("meuse-link/default/stove-1/up", b""))
            await until(lambda: "link-lost" in events(tmp_path), "it is noticed", 20)
            client.close()
            board.unplug()

    asyncio.run(scene())


def test_a_board_that_went_without_a_word_is_given_up_after_a_while(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "IDLE_S", 0.5)
    monkeypatch.setattr(broker_link, "SWEEP_EVERY_S", 0.1)

    async def scene() -> None:
        async with running(tmp_path, **settings(broker)) as host:
            await connected(host)
            board = MqttBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.connect_to(broker.port)
            await until(lambda: "link-up" in events(tmp_path), "the board is known", 20)
            board.unplug()
            await until(lambda: not host.bridge.sessions, "its session ends", 20)

    asyncio.run(scene())


def test_a_password_file_or_certificate_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    async def start(**more: object) -> None:
        async with running(tmp_path, tcp={"listen": []}, mqtt_link=[more]):
            pass

    with pytest.raises(ConfigError, match=r"cannot read mqtt_link\.password_file .*/none"):
        asyncio.run(start(url="mqtt://me@localhost", password_file=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match=r"cannot use .*/none"):
        asyncio.run(start(url="mqtts://localhost", ca=str(tmp_path / "none")))
