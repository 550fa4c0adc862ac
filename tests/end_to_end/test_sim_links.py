"""`meuse sim --links ... --fault ...` beside `meuse run`, as whoever wants to watch links change types it."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from meuse import sim_links
from meuse.errors import ConfigError

from tests import links_table
from tests.end_to_end.river import MEUSE, ROOT, Host, meuse, rows
from tests.firmware.virtual import control, json_lines, wait_for
from tests.ports import free_port

HTTP_BESIDE = 202


class Scene:
    """A data folder, a host on it, and `meuse sim` beside it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.data = top / "data"
        self.board = self.data / "boards/stove"
        self.host = Host(self.data)

    def configure(self, text: str) -> None:
        (self.top / "meuse.toml").write_text(text)
        self.host._config = self.top / "meuse.toml"

    @contextlib.contextmanager
    def plays(self, links: str, *words: str) -> Iterator[None]:
        """Ends in order when the block does: boards drain first."""
        with self.host, (self.top / "sim.log").open("wb") as log:
            line = [str(MEUSE), "sim", "stove", "--links", links, "--data", str(self.data)]
            line += ["--host", f"127.0.0.1:{self.host.port}", *words]
            boards = subprocess.Popen(line, stdout=log, stderr=log, cwd=ROOT)
            try:
                yield
                boards.send_signal(signal.SIGTERM)
                assert boards.wait(100) == 0, self.log()
            finally:
                if boards.poll() is None:  # ends its own boards, which it has in sessions of their own
                    boards.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        boards.wait(20)
                    boards.kill()
                    boards.wait()
            self.host.stop()

    def log(self) -> str:
        return (self.top / "sim.log").read_text()

    def links(self) -> list[str]:
        """Links on which the stove spoke so far, as the host sees them, without what follows their kind."""
        if not (self.data / "journal.sqlite").exists():
            return []
        sql = "SELECT detail FROM events WHERE kind IN ('link-up', 'link-changed') AND device = 'stove-1'"
        said = meuse("query", "--data", str(self.data), "--sql", sql, "--format", "jsonl")
        return [json.loads(line)["detail"].split(" to ")[-1] for line in said.splitlines()]

    def status(self) -> dict[str, Any]:
        try:
            return control.send(self.board, do="status")
        except OSError:
            return {}

    def served(self) -> list[Any]:
        """What the sensor in the flue told the board."""
        told = json_lines(self.board / "served.jsonl")
        return [line["value"] for line in told if line["channel"] == "flue_temp"]

    def stored(self) -> list[Any]:
        """What the host has of it, in the order of its records."""
        try:
            found = rows("--data", str(self.data), "--device", "stove-1", "--channel", "flue_temp")
        except AssertionError:  # the host has not heard of that channel
            return []
        found.sort(key=lambda row: (int(row["seq"]), int(row["row"])))
        return [float(row["value"]) if row["value"] else None for row in found]

    def complete(self) -> None:
        """What the sensor told the board is stored, in order, once."""
        assert self.stored() == self.served() != []


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_three_links_under_two_faults_lose_nothing(scene: Scene) -> None:
    scene.host._serial = [str(scene.board / "tty")]
    scene.host.extra = ["--udp", f"127.0.0.1:{scene.host.port}"]
    with scene.plays("serial,udp,tcp", "--fault", "cable", "--fault", "network", "--every", "6"):
        wait_for(lambda: "fault: network" in scene.log(), "both faults", 120)
        wait_for(lambda: len(set(scene.links())) >= 2, "more than one link", 120)
    assert "fault: cable" in scene.log()
    scene.complete()


@pytest.mark.link(
    "cellular",
    board="virtual stove, MicroPython, unix build",
    wire="simulated SIM7600 in the board's world, switched off and on, TCP sockets on loopback",
    host="meuse run",
)
@pytest.mark.link("rs485", board="virtual stove, MicroPython, unix build", wire="pty, one board", host="meuse run")
def test_a_stove_leaves_its_wire_for_its_modem_and_comes_back(scene: Scene) -> None:
    scene.configure(f'[[rs485]]\nport = "{scene.board}/tty"\npoll = "1s"\n')
    with scene.plays("rs485,cellular", "--fault", "modem", "--fault", "cable", "--every", "12"):
        wait_for(lambda: {link.split(":")[0] for link in scene.links()} >= {"rs485", "tcp"}, "both links", 120)
        wait_for(lambda: scene.status()["modem"]["connects"] >= 2, "the modem was off, and connects again", 120)
    scene.complete()


@pytest.mark.link(
    "sms",
    board="virtual stove, MicroPython, unix build",
    wire="two simulated SIM7600 and a simulated SMS centre in the board's world",
    host="meuse run",
)
def test_a_fire_is_told_by_sms_while_the_cable_is_out(scene: Scene) -> None:
    scene.configure(
        f'[[serial]]\nport = "{scene.board}/tty"\n[sms]\nport = "{scene.board}/sms"\nnumbers = ["+31600000001"]\n'
    )
    with scene.plays("serial,sms", "--fault", "cable+fire", "--every", "16"):
        wait_for(lambda: "sms:+31600000001" in scene.links(), "an alarm by SMS", 120)
        over = scene.log().count("cable+fire is over") + 1
        wait_for(lambda: scene.log().count("cable+fire is over") >= over, "the cable is back, for the readings", 120)
    scene.complete()


def test_a_stove_speaks_by_http(scene: Scene) -> None:
    scene.host.port = free_port(HTTP_BESIDE)
    http = scene.host.port + HTTP_BESIDE
    scene.configure(f'[http]\nlisten = ["127.0.0.1:{http}"]\n')
    with scene.plays("http"):
        wait_for(lambda: scene.links() == ["http:stove-1"], "a link by HTTP", 120)
        wait_for(scene.served, "readings")
    assert f'listen = ["127.0.0.1:{http}"]' in scene.log(), "it says what the host needs"
    scene.complete()


@pytest.mark.link(
    "lora",
    board="two virtual boards, MicroPython, unix build: a stove, and a weather station as gateway",
    wire="simulated: SX127x at register level, one air for two worlds, at times half is lost",
    host="meuse run",
)
@pytest.mark.link(
    "relay",
    board="two virtual boards, MicroPython, unix build: a stove, and a weather station as relay",
    wire="pty, pulled out and put back; TCP on loopback",
    host="meuse run",
)
@pytest.mark.parametrize(("link", "fault"), [("lora", "air"), ("relay", "cable")])
def test_a_stove_is_heard_through_a_gateway_that_measures_too(scene: Scene, link: str, fault: str) -> None:
    """A radio may need longer for the rest than a board that is told to stop waits: that stays in its flash."""
    with scene.plays(link, "--fault", fault, "--every", "8"):
        wait_for(lambda: f"{fault} is over" in scene.log(), "the fault", 120)
        wait_for(lambda: len(scene.stored()) >= 5, "readings of the stove", 120)
        assert "tcp:127.0.0.1 via weather-1" in scene.links()
        assert rows("--data", str(scene.data), "--device", "weather-1")
        if link == "lora":
            air = scene.status()["air"]
            assert air["sent"] and air["heard"]
    stored = scene.stored()
    assert stored == scene.served()[: len(stored)]


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ("lorawan", "ChirpStack"),
        ("file", "`meuse import` takes its files"),
        ("tls", "certificates"),
        ("serial,zigbee", "no link 'zigbee'"),
        ("sms", "--links serial,sms"),
        ("lora,relay", "take lora or relay"),
    ],
)
def test_a_link_that_nobody_plays_is_refused_with_what_to_take_instead(links: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        sim_links.check(links.split(","))
    assert words in f"{refused.value.message} {refused.value.advice}"


def test_bluetooth_is_refused_at_the_command_line() -> None:
    done = subprocess.run([str(MEUSE), "sim", "--links", "ble"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "Bluetooth has no simulator" in done.stderr


def test_every_link_of_the_documents_is_played_or_refused_in_words() -> None:
    assert {*sim_links.PLAYED, *sim_links.ELSEWHERE} == set(links_table.ORDER)
