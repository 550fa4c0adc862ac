"""Topics at brokers that ask who comes, and at a broker of the host's own; with Debian's mosquitto_sub as a reader."""

import asyncio
import json
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
from meuse import checks
from meuse.config import read_settings
from meuse.errors import ConfigError
from meuse.topics import embedded

from tests.brokers import Broker, authority, program
from tests.end_to_end.test_killed_run import alive
from tests.firmware.virtual import wait_for
from tests.host.hosts import host_of, key_of, running
from tests.host.light_board import until
from tests.host.readings_board import ReadingsBoard
from tests.host.test_topics import connected, heard_all, hurry, listening
from tests.topics_listener import Listener, validate

__all__ = ["hurry"]


def test_tls_a_user_and_a_certificate(tmp_path: Path) -> None:
    tls = authority(tmp_path / "tls")
    secret = tmp_path / "password"
    secret.write_text("let me in\n")

    async def scene(broker: Broker) -> None:
        named = {"url": f"mqtts://meuse@localhost:{broker.port}", "ca": str(tls / "ca.pem")}
        shown = {"cert": str(tls / "broker.pem"), "key": str(tls / "broker.key")}
        async with running(tmp_path, mqtt={**named, **shown, "password_file": str(secret)}) as host:
            await connected(host)
            assert host.topics
            await until(lambda: host.topics and host.topics.published, "the broker acknowledges")
        async with running(tmp_path, mqtt={**named, "password_file": str(secret)}) as host:
            assert host.topics
            await until(lambda: host.topics and host.topics._steady._said, "without the certificate it is refused")
            assert not host.topics.connected

    with Broker("mosquitto", tmp_path / "broker", {"meuse": "let me in"}, tls, asks=True) as broker:
        asyncio.run(scene(broker))


def test_a_broker_of_our_own_lives_and_ends_with_the_host(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            await connected(host)
            assert host.broker and host.broker.process
            access = host.broker.access
            password = access.passwords[embedded.READER]
            backend = Listener(access.port, "meuse/#", user=embedded.READER, password=password)
            await listening(backend)
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            board.measure(10)
            await board.connect(host.tcp[0].address)
            await heard_all(backend, board)
            before = len(backend.heard)
            backend.say("meuse/default/default/stove-1/telemetry", b"{}")  # the broker may say PUBACK: it does nothing
            first = host.broker.process.pid
            host.broker.process.kill()
            await until(lambda: host.broker and host.broker.starts == 2, "it is started again")
            await until(lambda: backend.listens, "the backend is back")
            board.measure(5)
            await heard_all(backend, board)
            assert host.broker.process.pid != first
            last = host.broker.process.pid
            assert all(heard.payload != b"{}" for heard in backend.heard[before:])
            validate(backend.heard)
            board.unplug()
            backend.close()
        assert last not in alive()
        for name in (embedded.ACCESS, embedded.CONFIG):
            assert stat.S_IMODE((tmp_path / embedded.FOLDER / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / embedded.FOLDER).stat().st_mode) == 0o700
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            assert host.broker and host.broker.access == access  # kept
            await connected(host)

    asyncio.run(scene())
    found = checks.check_all(read_settings({"host": {"data": str(tmp_path)}, "mqtt": {"embedded": True}}, "test"))
    told = [finding.state for finding in found if finding.what == "broker, for backends"]
    assert told == [embedded.known(tmp_path).url(embedded.READER)]  # type: ignore[union-attr]
    (tmp_path / embedded.FOLDER / embedded.ACCESS).chmod(0o644)
    found = checks.check_all(read_settings({"host": {"data": str(tmp_path)}, "mqtt": {"embedded": True}}, "test"))
    assert [finding.what for finding in found if finding.bad] == ["broker"]


def test_strangers_do_not_come_in(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            assert host.broker
            for user, password in (("", ""), (embedded.READER, "guessed")):
                stranger = Listener(host.broker.access.port, user=user, password=password)
                await until(lambda one=stranger: one.turned_away, "it is turned away")  # type: ignore[misc]
                assert not stranger.heard
                stranger.close()

    asyncio.run(scene())


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv: apt-get install util-linux")
def test_a_killed_host_takes_its_broker_along(tmp_path: Path) -> None:
    config = tmp_path / "meuse.toml"
    config.write_text(f'[host]\ndata = "{tmp_path / "data"}"\n[tcp]\nlisten = []\n[mqtt]\nembedded = true\n')
    with host_of(config) as host:
        children = wait_for(lambda: [child for child, parent in alive().items() if parent == host.pid], "a child")
        access = wait_for(lambda: embedded.known(tmp_path / "data"), "its address")
        backend = connect(access)
        wait_for(lambda: backend.of("_host/state"), "it publishes")
        backend.close()
        os.kill(host.pid, signal.SIGKILL)
    wait_for(lambda: not alive().keys() & set(children), "the broker has ended")


def connect(access: embedded.Access) -> Listener:
    def try_it() -> Listener | None:
        try:
            return Listener(access.port, user=embedded.READER, password=access.passwords[embedded.READER])
        except OSError:
            return None

    return wait_for(try_it, "the broker")


def test_mosquitto_sub_shows_what_the_document_shows(tmp_path: Path) -> None:
    async def scene(broker: Broker) -> None:
        words = [
            program("mosquitto_sub", "mosquitto-clients"),
            "-p",
            str(broker.port),
            "-q",
            "1",
            "-v",
            "-t",
            "meuse/default/default/stove-1/telemetry",
        ]
        words += ["-C", "1"]
        reader = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        async with running(tmp_path, mqtt={"url": f"mqtt://127.0.0.1:{broker.port}"}) as host:
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            await board.connect(host.tcp[0].address)
            while reader.returncode is None:
                board.measure(2)
                await board.drained()
                await asyncio.sleep(0.05)
            assert reader.stdout
            topic, _, payload = (await reader.stdout.read()).decode().partition(" ")
            board.unplug()
        assert topic == "meuse/default/default/stove-1/telemetry"
        assert json.loads(payload)["device"] == "stove-1"

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


def test_home_assistant_is_told_of_every_channel_once_it_is_wanted(tmp_path: Path) -> None:
    async def scene(broker: Broker) -> None:
        backend = Listener(broker.port, "homeassistant/#", "meuse/+/+/+/latest")
        await listening(backend)
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with running(tmp_path, mqtt={"url": url, "discovery": "homeassistant"}) as host:
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            board.measure()
            await board.connect(host.tcp[0].address)
            await until(lambda: len({h.topic for h in backend.heard if h.topic.startswith("home")}) == 3, "3 channels")
            await until(lambda: backend.of("latest"), "the values")
            board.unplug()
        assert validate(backend.heard)["discovery"] == 3
        told = {heard.form["name"]: heard.form for heard in backend.heard if heard.topic.startswith("home")}
        assert told["flue_temp"]["unit_of_measurement"] == "°C" and told["pellets"]["state_class"] == "total_increasing"
        assert told["flue_temp"]["state_topic"] in {heard.topic for heard in backend.heard}
        async with running(tmp_path, mqtt={"url": url}):  # not wanted any more: it is taken back
            await until(lambda: sum(h.topic.startswith("home") and not h.payload for h in backend.heard) == 3, "gone")
        backend.close()

    with Broker("mosquitto", tmp_path / "broker") as broker:
        asyncio.run(scene(broker))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"url": "mqtt://a", "embedded": True}, "both url and embedded"),
        ({"url": "http://a"}, "mqtt.url is no address of a broker"),
        ({"url": "mqtt://a", "live_within": "soon"}, "mqtt.live_within = 'soon' is no time"),
        ({"embedded": True, "discovery": "a/#"}, "mqtt.discovery"),
        ({"embedded": True, "listen": "here"}, "mqtt.listen"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings({"mqtt": table}, "test")
