"""Who may come to the running host: keys taken away or renewed, places that change, tokens; and no secret shown."""

import asyncio
import os
import pty
import re
import stat
import subprocess
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from meuse.access import passwords
from meuse.access.backends import Backends
from meuse.access.register import Grant, Register
from meuse.access.rights import Rights, subjects
from meuse.errors import ConfigError, HostError
from meuse.keys import KeyStore
from meuse.topics import embedded

from tests import access_matrix
from tests.access_matrix import Client, Role, typed
from tests.end_to_end.river import MEUSE
from tests.firmware.virtual import wait_for
from tests.host.hosts import events, host_of, key_of, running, stored
from tests.host.light_board import LightBoard, until
from tests.host.mqtt_board import MqttBoard
from tests.host.readings_board import ReadingsBoard
from tests.ports import free_port
from tests.topics_listener import Listener


@pytest.fixture(autouse=True)
def clients_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # where secrets are written to
    yield
    access_matrix.finish()


async def typed_elsewhere(data: Path, *words: str) -> str:
    """`meuse access ...`, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        str(MEUSE), "access", *words, "--data", str(data), cwd=data, stdout=-1, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def test_a_revoked_key_ends_the_connection_and_nothing_of_it_is_stored_any_more(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as host:
            board, other = (LightBoard(name, key_of(tmp_path, name)) for name in ("stove-1", "weather-1"))
            for one in (board, other):
                one.add(5)
                await one.connect(host.tcp[0].address)
                await one.drained()
            typed(tmp_path, "revoke", "stove-1")
            await until(lambda: not board.plugged, "its connection ends")
            assert other.plugged
            board.add(3)
            await board.connect(host.tcp[0].address)
            await until(lambda: host.bridge.totals().get("unknown_device"), "it is not known any more")
            other.add(3)
            await other.drained()
            assert len(stored(tmp_path, board.log.stream)) == 5 and board.acked == 5
            assert "key-revoked" in events(tmp_path)
            board.unplug()
            typed(tmp_path, "rotate", "stove-1")  # another key: the same log, the same numbers
            back = LightBoard("stove-1", KeyStore(tmp_path / "keys").keys("stove-1")[0], board.log)  # type: ignore[index]
            await back.connect(host.tcp[0].address)
            await back.drained()
            assert stored(tmp_path, board.log.stream) == board.log.created
            back.unplug()
            other.unplug()

    asyncio.run(scene())


def test_a_packet_in_flight_is_refused_from_the_moment_the_key_is_gone(tmp_path: Path) -> None:
    """Also on a connection that nobody has closed yet: what is known of the stream has no key that anybody has."""

    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(2)
            await board.connect(host.tcp[0].address)
            await board.drained()
            KeyStore(tmp_path / "keys").revoke("stove-1")
            host.bridge.expel = lambda device: None  # type: ignore[method-assign]
            await host.access.look()
            board.add(4)
            await until(lambda: host.bridge.totals().get("bad_mac"), "they are refused")
            assert board.acked == 2 and len(stored(tmp_path, board.log.stream)) == 2
            board.unplug()

    asyncio.run(scene())


def test_on_a_trusted_wire_a_revoked_device_cannot_go_on_without_a_key(tmp_path: Path) -> None:
    async def scene() -> None:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        async with running(tmp_path, serial=[{"port": os.ttyname(theirs)}]) as host:
            board = LightBoard("stove-1", None)
            board.add(3)
            board.plug(ours)
            await board.drained()
            typed(tmp_path, "revoke", "stove-1")
            await until(lambda: host.access._keys.revoked("stove-1"), "it is written")
            await host.access.look()
            board.add(3)
            await until(lambda: host.bridge.totals().get("unknown_device"), "its HELLO is refused")
            assert len(stored(tmp_path, board.log.stream)) == 3
            board.unplug()
        os.close(ours)
        os.close(theirs)

    asyncio.run(scene())


def test_a_key_is_changed_without_a_break(tmp_path: Path) -> None:
    """The host takes both; answers are signed with the one that the board has, before and after it has changed."""

    async def scene() -> None:
        async with running(tmp_path) as host:
            board = LightBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.add(5)
            await board.connect(host.tcp[0].address)
            await board.drained()
            typed(tmp_path, "rotate", "stove-1")
            await host.access.look()
            board.add(5)
            await board.drained()
            assert board.plugged
            board.unplug()
            changed = LightBoard("stove-1", KeyStore(tmp_path / "keys").keys("stove-1")[0], board.log)  # type: ignore[index]
            changed.add(5)
            await changed.connect(host.tcp[0].address)
            await changed.drained()
            assert len(stored(tmp_path, board.log.stream)) == 15
            changed.unplug()

    asyncio.run(scene())


def test_a_device_that_moves_takes_along_what_stands_at_the_broker(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            assert host.broker
            access = host.broker.access
            backend = Listener(access.port, user=embedded.READER, password=access.passwords[embedded.READER])
            board = ReadingsBoard("stove-1", key_of(tmp_path, "stove-1"))
            board.begin()
            board.measure(3)
            await board.connect(host.tcp[0].address)
            under = "meuse/default/default/stove-1"
            await until(lambda: standing(backend) >= {f"{under}/latest", f"{under}/state"}, "it is published")
            typed(tmp_path, "device", "stove-1", "--tenant", "acme", "--site", "hall")
            await until(lambda: not {t for t in standing(backend) if t.startswith(under)}, "the old name is cleared")
            now = "meuse/acme/hall/stove-1"
            await until(lambda: standing(backend) >= {f"{now}/latest", f"{now}/state"}, "it stands under the new one")
            board.measure(3)
            await until(lambda: any(h.topic == f"{now}/telemetry" for h in backend.heard.copy()), "and goes on there")
            board.unplug()
            backend.close()
        async with running(tmp_path, mqtt={"embedded": True}) as host:  # moved while no host runs
            pass
        typed(tmp_path, "device", "stove-1", "--tenant", "umbrella")
        async with running(tmp_path, mqtt={"embedded": True}) as host:
            assert host.broker
            wanted = {f"meuse/umbrella/hall/stove-1/{what}" for what in ("latest", "state")} | {"meuse/_host/state"}
            for _ in range(100):
                found = await asyncio.to_thread(stands, access)
                if found == wanted:
                    break
            assert found == wanted

    asyncio.run(scene())


def standing(backend: Listener) -> set[str]:
    """Retained messages as a subscriber knows them: the last word counts."""
    last = {heard.topic: heard.payload for heard in backend.heard.copy() if heard.topic.startswith("meuse/")}
    return {topic for topic, payload in last.items() if payload and topic.endswith(("/latest", "/state"))}


def stands(access: embedded.Access) -> set[str]:
    """What somebody gets who comes now. nats-server may send what is retained behind the news that it is cleared."""
    backend = Listener(access.port, user=embedded.READER, password=access.passwords[embedded.READER])
    wait_for(lambda: {heard.topic for heard in backend.heard.copy()} >= {"meuse/_host/state"}, "what is retained")
    backend.close()
    return standing(backend)


class OwnUser(MqttBoard):
    """A board that says who it is to the broker, as the firmware does: user and client id are the device's id."""

    def __init__(self, device: str, key: bytes, password: str) -> None:
        super().__init__(device, key)
        self.password = password

    def enter(self, port: int, tenant: str) -> None:
        real = paho.Client

        def client(version: object, client_id: str) -> paho.Client:
            made = real(version, client_id=self.device)  # type: ignore[arg-type]
            made.username_pw_set(self.device, self.password)
            return made

        paho.Client = client  # type: ignore[misc, assignment]
        try:
            self.connect_to(port, f"{tenant}/{self.device}")
        finally:
            paho.Client = real  # type: ignore[misc]


async def own_user(data: Path, device: str, tenant: str) -> OwnUser:
    """With what a person would put on the board."""
    file = data / f"{device}.password"
    typed(data, "device", device, "--tenant", tenant, "--file", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return OwnUser(device, key_of(data, device), file.read_text().strip())


@pytest.mark.link(
    "mqtt", board="light client on the shared protocol", wire="the host's own nats-server", host="meuse run"
)
def test_boards_use_the_hosts_own_broker(tmp_path: Path) -> None:
    async def scene() -> None:
        both = {"mqtt": {"embedded": True}, "mqtt_link": [{"embedded": True}]}
        async with running(tmp_path, **both) as host:
            assert host.broker
            board = await own_user(tmp_path, "stove-1", "acme")
            board.add(20)
            await host.access.look()
            board.enter(host.broker.access.port, "acme")
            await board.drained()
            assert len(stored(tmp_path, board.log.stream)) == 20
            typed(tmp_path, "revoke", "stove-1")
            board.add(1)
            await until(lambda: not board.client.is_connected(), "it is thrown out")
            board.unplug()

    asyncio.run(scene())


def test_a_nats_server_of_ones_own_asks_the_host(tmp_path: Path) -> None:
    """Written by `meuse access nats`; a host that comes back leaves those alone whose password still holds."""
    data, port, own = tmp_path / "data", free_port(), free_port()
    data.mkdir()

    async def scene() -> None:
        lines = tmp_path / "meuse-access.conf"
        typed(data, "nats", "--file", str(lines))
        config = tmp_path / "nats.conf"
        config.write_text(
            f'server_name: own\nlisten: "127.0.0.1:{own}"\nmqtt {{ listen: "127.0.0.1:{port}" }}\n'
            f'jetstream {{ store_dir: "{tmp_path / "js"}" }}\ninclude "{lines.name}"\n'
        )
        server = await asyncio.create_subprocess_exec(embedded.binary(), "-c", str(config), stderr=-3)
        try:
            settings = {"access": {"nats": f"nats://127.0.0.1:{own}"}}
            async with running(data, **settings) as host:
                Backends(data).add("acme", "grafana", False)
                password = Backends(data).rotate("acme_grafana")
                assert host.access.changed
                grafana = Role("backend", "acme_grafana", password, "acme_grafana")
                backend = await asyncio.to_thread(Client, port, grafana)
                assert backend.here
                for wrong in (replace(grafana, password="guessed"), replace(grafana, client_id="other")):
                    assert not (await asyncio.to_thread(Client, port, wrong)).came
                gone = Role("backend", "acme_gone", Backends(data).add("acme", "gone", False), "acme_gone")
                other = await asyncio.to_thread(Client, port, gone)
            assert backend.here and other.here  # who is in stays in while no host runs
            Backends(data).revoke("acme_gone")
            async with running(data, **settings) as host:
                await until(lambda: other.ended, "what holds no more ends")
                assert backend.here and (await asyncio.to_thread(Client, port, replace(grafana, client_id=""))).came
            assert backend.here
        finally:
            server.kill()
            await server.wait()

    asyncio.run(scene())


def test_a_token_says_whose_it_is_and_what_it_may(tmp_path: Path) -> None:
    backends = Backends(tmp_path)
    reads, commands = backends.add("acme", "grafana", False), backends.add("acme", "stoves", True)
    register = Register(KeyStore(tmp_path / "keys"), backends, {})
    assert register.who_may(f"acme_grafana:{reads}") == Grant("acme_grafana", "acme", False)
    assert register.who_may(f"acme_stoves:{commands}") == Grant("acme_stoves", "acme", True)
    board = passwords.of_board(key_of(tmp_path, "stove-1"))
    for token in ("", ":", "acme_grafana", "acme_grafana:", f"acme_stoves:{reads}", f"nobody:{reads}", reads):
        assert register.who_may(token) is None
    assert register.who_may(f"stove-1:{board}") is None  # a board is no backend
    again = backends.rotate("acme_grafana")
    assert register.who_may(f"acme_grafana:{reads}") and register.who_may(f"acme_grafana:{again}")
    Backends(tmp_path).revoke("acme_grafana")  # another process
    assert register.who_may(f"acme_grafana:{again}") is None


@pytest.mark.parametrize(
    ("tenant", "name"), [("a_b", "c"), ("a", "b_c"), ("a", ""), ("A", "b"), ("a/b", "c"), ("+", "c")]
)
def test_names_that_could_be_anothers_or_a_topic_are_refused(tmp_path: Path, tenant: str, name: str) -> None:
    with pytest.raises(ConfigError):
        Backends(tmp_path).add(tenant, name, False)
    with pytest.raises(ConfigError):
        Backends(tmp_path).rotate(f"{tenant}_{name}")


def test_filters_are_subjects_in_both_forms() -> None:
    rights = Rights(("meuse/one/#", "meuse/one/+/+/command", "#"), ())
    assert subjects(rights.publish) == ["meuse.one", "meuse.one.>", "meuse.one.*.*.command", ">"]


def test_a_password_is_stored_as_mosquitto_stores_it(tmp_path: Path) -> None:
    """`$7$`: compared with what mosquitto_passwd makes of the same password, but for the salt."""
    from tests.brokers import program

    password = passwords.made()
    file = tmp_path / "passwords"
    file.write_text(f"somebody:{password}\n")
    tool = Path(program("mosquitto", "mosquitto")).parents[1] / "bin/mosquitto_passwd"
    subprocess.run([str(tool), "-U", str(file)], check=True)
    theirs, ours = file.read_text().strip().partition(":")[2].split("$"), passwords.hashed(password).split("$")
    assert theirs[1:3] == ours[1:3] == ["7", "101"]
    assert [len(part) for part in theirs] == [len(part) for part in ours]
    assert passwords.hashed(password) == passwords.hashed(password) != passwords.hashed(passwords.made())


def test_no_secret_is_in_any_log(tmp_path: Path) -> None:
    """All that is in files of mode 600 is looked for in all that anybody else may read."""
    data = tmp_path / "data"
    data.mkdir()
    config = tmp_path / "meuse.toml"
    config.write_text(
        f'[host]\ndata = "{data}"\nlog = "debug"\n[tcp]\nlisten = []\n[mqtt]\nembedded = true\n'
        f'[[mqtt_link]]\nembedded = true\n[access]\nmosquitto = "{data / "mosquitto"}"\n'
    )
    said: list[str] = []
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([str(MEUSE), "run", "--config", str(config)], stdout=log, stderr=log) as host,
    ):
        try:
            access = wait_for(lambda: embedded.known(data), "a broker")
            said.append(typed(data, "add", "grafana", "--tenant", "acme", "--commands"))
            said.append(typed(data, "device", "stove-1"))
            password = (tmp_path / "acme_grafana.password").read_text().strip()
            grafana = Role("backend", "acme_grafana", password, "acme_grafana")
            wait_for(lambda: knocks(access.port, grafana), "the broker lets it in")
            assert not Client(access.port, replace(grafana, password=password[::-1])).came
            for words in (("rotate", "stove-1"), ("rotate", "acme_grafana"), ("revoke", "acme_grafana"), ("list",)):
                said.append(typed(data, *words))
            wait_for(lambda: "does not hold any more" in (tmp_path / "log").read_text(), "it was noticed")
        finally:
            host.terminate()
    doctor = subprocess.run([str(MEUSE), "doctor", "--config", str(config)], capture_output=True, text=True).stdout
    assert f"kept under {data / 'access'}" in doctor
    meant = access.passwords[embedded.READER]  # a person asks the doctor for it
    shown = "".join([*said, doctor.replace(meant, ""), (tmp_path / "log").read_text()])
    shown += (data / "broker/log").read_text() + (data / "host.lock").read_text()
    secrets = found_secrets(data)
    assert len(secrets) >= 12 and meant in secrets
    assert not [secret for secret in secrets if secret in shown]


def knocks(port: int, role: Role) -> bool:
    """Once the broker listens, and the host answers it."""
    try:
        return Client(port, role).came
    except OSError:
        return False


def found_secrets(data: Path) -> set[str]:
    """Every long word of every file that only its owner may read, and all such are found."""
    words: set[str] = set()
    for path in [*data.parent.glob("*.password"), *data.glob("keys/*"), *data.rglob("access/**/*.json")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        words.update(re.findall(r"[A-Za-z0-9_+/=-]{20,}", path.read_text()))
    for path in [*data.glob("mosquitto/*"), data / "broker/access.json", data / "broker/nats.conf"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        text = path.read_text().replace(str(data), "")
        words.update(word for word in re.findall(r"[A-Za-z0-9_+=-]{20,}", text) if any(map(str.isdigit, word)))
    return words


def test_a_host_of_a_process_of_its_own_is_told_within_seconds(tmp_path: Path) -> None:
    """`meuse run` and `meuse access revoke`, as people use them."""
    data, port = tmp_path / "data", free_port()
    config = tmp_path / "meuse.toml"
    config.write_text(f'[host]\ndata = "{data}"\n[tcp]\nlisten = ["127.0.0.1:{port}"]\n')
    key = key_of(data, "stove-1")

    async def scene() -> None:
        board = LightBoard("stove-1", key)
        board.add(3)
        while True:
            try:
                await board.connect(f"127.0.0.1:{port}")
                break
            except OSError:
                board.unplug()
                await asyncio.sleep(0.05)
        await board.drained()
        said = await typed_elsewhere(data, "revoke", "stove-1")
        assert said == "stove-1 is revoked\n"
        await until(lambda: not board.plugged, "its connection ends")

    with host_of(config) as host:
        asyncio.run(scene())
        host.terminate()


def test_the_commands_of_the_document_do_what_it_says(tmp_path: Path, root: Path) -> None:
    text = (root / "docs/access.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    ours = [line.split()[2:] for line in lines if line.startswith("meuse access ")]
    assert len(ours) == len(lines) - 1 >= 9  # and one of mosquitto_sub

    async def scene() -> str:
        async with running(tmp_path):
            return "".join([typed(tmp_path, *words) for words in ours])

    assert "stove-1: tenant acme, site hall" in asyncio.run(scene())
    shown = [line.split() for line in typed(tmp_path, "list").splitlines()]
    states = {row[0]: row[-1] for row in shown[1:]}
    assert states == {"stove-1": "revoked", "acme_grafana": "revoked", "acme_stoves": "come"}
    passwords = {path.name for path in tmp_path.glob("*.password")}
    assert passwords == {"acme_grafana.password", "stove-1.password", "stoves.password"}
    files = [*(tmp_path / "mosquitto").iterdir()]
    assert {path.name for path in files} >= {"meuse.acl", "meuse.passwords", "meuse.conf"}
    for path in [*tmp_path.glob("*.password"), tmp_path / "meuse-access.conf", *files]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "graf_ana"], "'graf_ana' is no name of a backend"),
        (["rotate", "acme_nobody"], "no backend is called 'acme_nobody'"),
        (["revoke", "stove-9"], "no device is called 'stove-9'"),
        (["device", "Stove"], "'Stove' is not a device id"),
        (["device", "stove-1", "--tenant", "acme"], "there is no journal"),
        (["add", "grafana", "--file", "nowhere/x"], "there is no folder for nowhere/x"),
    ],
)
def test_what_cannot_be_is_said_in_words(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(HostError, match=re.escape(said)) as raised:
        typed(tmp_path / "data", *words)
    assert raised.value.advice
    assert not list(tmp_path.rglob("*.key"))
