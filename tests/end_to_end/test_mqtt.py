"""Boards behind real brokers: killed, secured, refusing; every reading is stored once, whatever a PUBACK said.

Real firmware on real MicroPython, real brokers, the real host; simulated are sensors, their wires and the flash chip.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from meuse_protocol.messages import ACK, DATA, HELLO, SINGLE, WELCOME

from tests.brokers import BROKERS, Broker, authority
from tests.end_to_end.river import Host, hasty, meuse, provision, rows
from tests.firmware.desk import Desk, Port
from tests.firmware.virtual import VirtualBoard, wait_for
from tests.host.hosts import ask
from tests.mqtt_listener import Listener

UP = "meuse-link/default/stove-1/up"
DOWN = "meuse-link/default/stove-1/down"


class Scene:
    """A broker, a host that reads from it, boards that lead to it: all in one folder."""

    def __init__(self, top: Path, broker: Broker, url: str = "", more: str = "") -> None:
        self.top = top
        self.data = top / "data"
        self.broker = broker
        config = top / "meuse.toml"
        config.write_text(f'[[mqtt_link]]\nurl = "{url or f"mqtt://localhost:{broker.port}"}"\n{more}')
        self.host = Host(self.data, config=config)

    def board(self, device: str = "stove-1", link: str = "") -> VirtualBoard:
        """The stove as another device perhaps, with an MQTT link first; the cable is a console."""
        folder = self.top / device
        scenario = hasty(folder / "hasty", "stove")
        product = folder / "hasty/stove.product.toml"
        first = f'[[links]]\nkind = "mqtt"\nhost = "localhost"\nport = {self.broker.port}\n{link}\n'
        product.write_text(product.read_text().replace("[[links]]", first + "[[links]]", 1))
        key = provision(self.data, device)
        words = ("--scenario", str(scenario), "--key", str(key), "--heap", "192k")
        return VirtualBoard(folder / "board", device, *words)

    def stored(self) -> int:
        """Records in the journal."""
        ((count,),) = ask(self.data, "SELECT count(*) FROM records")
        return int(str(count))

    def check(self, board: VirtualBoard) -> None:
        """What the sensors said is what is stored: every value, once, in order; and no gap."""
        table = rows("--data", str(self.data), "--device", board.device)
        keys = [(r["stream"], r["seq"], r["row"], r["channel"]) for r in table]
        assert len(keys) == len(set(keys))
        told: dict[str, list[float | None]] = defaultdict(list)
        for r in sorted(table, key=lambda r: (int(r["seq"]), int(r["row"]))):
            told[r["channel"]].append(float(r["value"]) if r["value"] else None)
        served: dict[str, list[float | None]] = defaultdict(list)
        for line in board.served():
            served[line["channel"]].append(line["value"])
        assert len(served["flue_temp"]) >= 2
        for channel, values in served.items():
            assert told[channel] == values, channel
        assert meuse("query", "--data", str(self.data), "--gaps", "--format", "jsonl").strip() == ""


def more_served(board: VirtualBoard, count: int) -> None:
    """Waits until the sensors have been read so many times more."""
    before = len(board.served())
    wait_for(lambda: len(board.served()) >= before + count, "readings go on", 30)


def records(listener: Listener) -> list[object]:
    """Sequence numbers of the records that were published, as often as they were."""
    return [array[2] for array in listener.arrays(UP) if array[0] in (DATA, SINGLE)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.link("mqtt", board="MicroPython, unix build", wire="real nats-server or Mosquitto", host="meuse run")
@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_killed_in_mid_stream_and_pubacks_without_a_host_lose_nothing(
    tmp_path: Path, stack: ExitStack, kind: str
) -> None:
    broker = stack.enter_context(Broker(kind, tmp_path / "broker"))
    scene = Scene(tmp_path, broker)
    listener = Listener(broker.port)
    stack.callback(listener.close)
    wait_for(lambda: listener.listens, "the listener listens")
    stack.enter_context(scene.host)
    board = stack.enter_context(scene.board())
    wait_for(lambda: scene.stored() >= 5, "records flow", 120)
    killed(scene, board)
    if kind == "nats":  # the promptest to say PUBACK for what it throws away
        without_host(scene, listener)
    assert board.stop() == 0, board.log()
    scene.host.stop()
    scene.check(board)
    assert {HELLO} <= {array[0] for array in listener.arrays(UP)}
    assert {ACK, WELCOME} <= {array[0] for array in listener.arrays(DOWN)}
    log = (scene.data / "host.log").read_text()
    assert log.count("connected again") == log.count("trying again") == 1, log
    published = records(listener)
    print(f"{kind}: {len(board.served())} values, {len(published)} records heard, {len(set(published))} different")


def killed(scene: Scene, board: VirtualBoard) -> None:
    """kill -9 of the broker, which keeps nothing; the sensors are read on; then it is there again."""
    scene.broker.kill()
    more_served(board, 8)
    stored = scene.stored()
    scene.broker.start()
    wait_for(lambda: scene.stored() >= stored + 3, "records flow again", 120)


def without_host(scene: Scene, listener: Listener) -> None:
    """The host is stopped; the broker takes what the board sends, says PUBACK, and has nobody to give it to."""
    scene.host.stop()
    stored, published = scene.stored(), len(records(listener))
    # More than may be at the broker without a PUBACK: the board would have stopped at eight.
    wait_for(lambda: len(records(listener)) >= published + 9, "the broker takes records", 120)
    assert scene.stored() == stored
    scene.host.start()
    wait_for(lambda: scene.stored() >= stored + 9, "the host stores again", 120)


@pytest.mark.link("mqtt", board="MicroPython, unix build, TLS", wire="real Mosquitto, TLS, users", host="meuse run")
def test_tls_and_passwords_and_who_is_refused_says_so(tmp_path: Path, stack: ExitStack) -> None:
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    users = {"board": "firewood", "host": "river water"}
    broker = stack.enter_context(Broker("mosquitto", tmp_path / "broker", users, ours))
    (tmp_path / "password").write_text("river water\n")
    more = f'ca = "{ours / "ca.pem"}"\npassword_file = "{tmp_path / "password"}"\n'
    scene = Scene(tmp_path, broker, f"mqtts://host@localhost:{broker.port}", more)
    stack.enter_context(scene.host)
    right = f'tls = true\nca = "{ours / "ca.pem"}"\nuser = "board"\nuser_password = "firewood"'
    board = stack.enter_context(scene.board(link=right))
    wrong_password = stack.enter_context(scene.board("stove-2", right.replace("firewood", "fire")))
    wrong_broker = stack.enter_context(scene.board("stove-3", right.replace(str(ours), str(theirs))))
    assert "wrong user or password" in problem(wrong_password)
    assert "certificate" in problem(wrong_broker)
    wait_for(lambda: scene.stored() >= 8, "readings are stored", 40)
    assert board.stop() == 0, board.log()
    scene.host.stop()
    scene.check(board)
    assert {r["device"] for r in rows("--data", str(scene.data))} == {"stove-1"}
    log = (scene.data / "host.log").read_text()
    assert "river" not in log and "connected" in log, log


def problem(board: VirtualBoard) -> str:
    """What a technician with a cable reads of the link."""
    desk = Desk(board.device, Port(board.folder / "tty"), bytes(32))
    found: list[str] = []

    def told() -> bool:
        if desk.connected and not any("console only" in line for line in desk.text[asked[0] :]):
            return False
        found.extend(line for line in desk.text if re.match(r"PROBLEM +mqtt to localhost", line))
        if not found and desk.connected:
            asked[0] = len(desk.text)
            desk.type("links")
        return bool(found)

    asked = [0]
    desk.until(lambda: desk.connected, "the cable")
    desk.type("links")
    desk.until(told, "the board tells what is wrong", 30)
    desk.close()
    return found[0]
