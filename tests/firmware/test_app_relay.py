"""Three boards on real MicroPython in a row: the host sees each one's stream, whatever is cut or killed on the way."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse_protocol.framing import TEXT, Deframer, frame
from meuse_protocol.messages import BLOB, record, splice

from tests.end_to_end.river import meuse
from tests.host.hosts import ask
from tests.ports import free_port

from .chain import Link, Station
from .network import RealHost
from .virtual import wait_for

FAR, NEAR, GATEWAY = "far-1", "near-1", "gateway-1"


class Chain:
    """far-1 -> near-1 -> gateway-1 -> the host by TCP; the gateway has a console, too."""

    def __init__(self, folder: Path, path: str, micropython: str) -> None:
        self.port = free_port()
        self.host = RealHost(folder, f'listen = ["127.0.0.1:{self.port}"]\n')
        config = folder / "meuse.toml"
        config.write_text(config.read_text().replace("[tcp]\nlisten = []\n", "[tcp]\n"))
        self.lower, self.upper, self.console = Link(), Link(), Link()
        serial = {"kind": "uart", "uart": 0}
        below = {"kind": "uart", "uart": 1, "carries": "others", "cost": 0}
        tcp = {"kind": "tcp", "host": "localhost", "port": self.port, "cost": 10}
        ends = {0: self.upper.down, 1: self.lower.up}
        self.far = Station(folder / FAR, FAR, self.host, [serial], {0: self.lower.down})
        self.near = Station(folder / NEAR, NEAR, self.host, [below, serial], ends)
        ends = {0: self.console.up, 1: self.upper.up}
        self.gateway = Station(folder / GATEWAY, GATEWAY, self.host, [below, tcp, serial], ends)
        self.stations = (self.far, self.near, self.gateway)
        self._start = (path, micropython)

    def start(self, *stations: Station) -> None:
        for station in stations:
            station.start(*self._start)

    def more(self) -> None:
        for station in self.stations:
            station.more()

    def asked(self, line: str, end: str) -> str:
        """What the gateway's console answers."""
        deframer, text = Deframer(2048), []
        self.console.down.send(line.encode() + b"\r")

        def answered() -> bool:
            try:
                deframer.feed(self.console.down.recv(65536))
            except BlockingIOError:
                return False
            while (item := deframer.next()) is not None:
                if item[0] == TEXT:
                    text.append(item[1].decode())
            if any("no memory" in one for one in text):  # for the console just now: a person would ask again
                text.clear()
                self.console.down.send(line.encode() + b"\r")
            return any(end in one for one in text)

        wait_for(answered, f"an answer to {line}")
        return "\n".join(text)

    def stop(self) -> None:
        """From the far end on, so that each one's last records still find their way."""
        for station in self.stations:
            station.stop()

    def close(self) -> None:
        for station in self.stations:
            station.kill()
        self.host.kill()
        for link in (self.lower, self.upper, self.console):
            link.close()


@pytest.fixture
def chain(bench_path: str, micropython: str, tmp_path: Path) -> Iterator[Chain]:
    one = Chain(tmp_path, bench_path, micropython)
    yield one
    one.close()


def events(chain: Chain) -> list[tuple[str, str, str]]:
    found = ask(chain.host.data, "SELECT kind, device, detail FROM events ORDER BY id")
    return [(str(kind), str(device), str(detail)) for kind, device, detail in found]


@pytest.mark.link(
    "relay",
    board="three boards in a row, MicroPython, unix build",
    wire="sockets as serial cables, TCP on loopback; host killed, relay killed",
    host="meuse run",
)
def test_readings_of_three_boards_in_a_row_are_stored_once_each_whatever_is_cut(chain: Chain) -> None:
    chain.start(*chain.stations)
    chain.host.start(chain.port)
    chain.more()
    chain.host.kill()  # the way up is cut
    before = len(chain.far.served())
    wait_for(lambda: len(chain.far.served()) > before + 200, "readings that nobody stores")
    chain.host.start(chain.port)
    chain.more()
    chain.near.kill()  # a relay in the middle
    before = len(chain.far.served())
    wait_for(lambda: len(chain.far.served()) > before + 100, "readings that nobody passes on")
    chain.start(chain.near)
    chain.more()
    listed = [json.loads(line) for line in meuse("devices", "--data", str(chain.host.data), "--json").splitlines()]
    ways = {entry["device"]: entry["link"] for entry in listed if entry["online"]}
    assert set(ways) == {FAR, NEAR, GATEWAY}
    assert ways[FAR].endswith(f" via {GATEWAY}") and ways[NEAR] == ways[FAR]
    assert ways[GATEWAY].startswith("tcp:") and " via " not in ways[GATEWAY]
    assert "carries for 2 boards" in chain.asked("links", "carries for")
    chain.stop()
    for station in (chain.far, chain.gateway):
        assert station.stored() == station.served(), station.device
    assert not Counter(chain.near.stored()) - Counter(chain.near.served())  # what was in its RAM is lost
    wait_for(lambda: all(station.whole() for station in chain.stations), "what the killed one lost is announced")
    assert not [event for event in events(chain) if event[0] == "link-changed"]
    assert chain.host.stop() == 0
    print({station.device: len(station.stored()) for station in chain.stations})


def test_a_board_that_babbles_starves_neither_the_others_nor_the_relay(chain: Chain) -> None:
    """It writes as fast as the cable takes it, and what it says is nobody's."""
    rng = random.Random(7)
    chain.host.start(chain.port)
    chain.start(chain.near, chain.gateway)
    chain.near.more()
    before = {station.device: len(station.stored()) for station in (chain.near, chain.gateway)}

    def babble() -> bool:
        for _ in range(20):
            stream = 0x80000000 | rng.randrange(3)
            body = record(BLOB, rng.randrange(1, 1000), 1, None, rng.randbytes(200))
            chain.lower.put(b"\0" + frame(splice(body, stream) + rng.randbytes(8)))
        return all(len(s.stored()) >= before[s.device] + 100 for s in (chain.near, chain.gateway))

    wait_for(babble, "readings while another board babbles")
    assert chain.near.process and chain.near.process.poll() is None, chain.near.log()
    chain.start(chain.far)
    wait_for(lambda: (babble(), len(chain.far.stored()) >= 20)[1], "readings of the board behind the babbler's cable")
    assert ask(chain.host.data, "SELECT count(DISTINCT device) FROM streams") == [(3,)]
