"""The application on real MicroPython with a LoRaWAN modem: joins, sends, is told what the data rate cannot carry."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker
from tests.end_to_end.river import Host, rows
from tests.host.hosts import ask, key_of
from tests.host.lorawan_network import Network

from .lorawan_board import ChirpstackBoard, LorawanBoard
from .peer import DEFAULT

Make = Callable[..., LorawanBoard]


@pytest.fixture
def make(bench_path: str, micropython: str, tmp_path: Path):  # type: ignore[no-untyped-def]
    made = []

    def one(lose: float = 0.0, kind: type[LorawanBoard] = LorawanBoard, **link: object) -> LorawanBoard:
        settings: dict[str, Any] = copy.deepcopy(DEFAULT)
        settings["groups"][0].update(period_ms=2000, tick_ms=1000, max_age_ms=12_000)
        made.append(kind(tmp_path, bench_path, micropython, settings, lose, pause_ms=1000, **link))
        return made[-1]

    yield one
    for board in made:
        board.close()


def stored_as_served(board: LorawanBoard) -> None:
    values = board.memory.values(0)
    assert values == board.served("flue")[: len(values)]
    assert board.memory.gaps == []


def whole(board: LorawanBoard) -> list[Any]:
    """Values up to the first record that is missing."""
    whole = all(state.cum > state.received.last() for state in board.memory.streams.values())
    return board.memory.values(0) if whole else []


@pytest.mark.link(
    "lorawan",
    board="MicroPython, unix build",
    wire="simulated: a modem's AT dialogue, class A, 20 % lost each way",
    host="the shared protocol, in memory",
)
def test_readings_arrive_through_a_modem_that_joins_first(make: Make) -> None:
    board = make(lose=0.2)
    board.start()
    board.until(lambda: len(whole(board)) >= 40 and board.modem.lost >= 3, 120)
    assert board.modem.joined
    stored_as_served(board)
    print(f"{board.modem.uplinks} uplinks, {board.modem.downlinks} downlinks")
    assert board.modem.downlinks <= board.modem.uplinks / 2 + 6


@pytest.mark.link(
    "lorawan",
    board="MicroPython, unix build",
    wire="simulated: a modem's AT dialogue, class A, ChirpStack's events, 10 % lost each way; real nats-server",
    host="meuse run",
)
def test_from_sensor_to_journal_by_way_of_chirpstacks_broker(make: Make, tmp_path: Path) -> None:
    board = make(lose=0.1, kind=ChirpstackBoard)
    assert isinstance(board, ChirpstackBoard)
    data, config = tmp_path / "data", tmp_path / "meuse.toml"
    (tmp_path / "key").write_bytes(key_of(data, "bench-1"))

    def whole() -> bool:
        ((count, last),) = ask(data, "SELECT count(*), max(seq) FROM records")
        return int(str(count)) >= 12 and count == last

    with Broker("nats", tmp_path / "broker") as broker:
        config.write_text(f'[lorawan]\nurl = "mqtt://127.0.0.1:{broker.port}"\n')
        board.network = Network(broker.port)
        with Host(data, config=config) as host:
            board.start()
            board.until(whole, 120)
            host.stop()
        board.network.close()
    table = [r for r in rows("--data", str(data), "--device", "bench-1") if r["channel"] == "flue"]
    assert len({(r["stream"], r["seq"], r["row"]) for r in table}) == len(table)
    seqs = {seq for (seq,) in ask(data, "SELECT seq FROM records")}
    hole = next(seq for seq in range(1, len(seqs) + 2) if seq not in seqs)  # the host may have had one more in hand
    table = sorted((r for r in table if int(r["seq"]) < hole), key=lambda r: (int(r["seq"]), int(r["row"])))
    assert [round(float(r["value"]) * 10) for r in table] == board.served("flue")[: len(table)]
    assert len(table) >= 8
    print(f"{len(table)} readings: {board.modem.uplinks} uplinks, {board.modem.downlinks} downlinks")


def test_a_network_that_forgot_the_modem_is_joined_again(make: Make) -> None:
    board = make()
    board.modem.joins = False
    board.start()
    board.until(lambda: "are DevEUI and key known" in board.ask("links", "serial"))
    board.modem.joins = True
    board.until(lambda: len(whole(board)) >= 8)
    board.modem.joined = False
    before = len(whole(board))
    board.until(lambda: board.modem.joined and len(whole(board)) >= before + 8)
    assert "AT_NO_NETWORK_JOINED" in board.modem.refused
    stored_as_served(board)


def test_what_the_data_rate_cannot_carry_is_told(make: Make) -> None:
    """US915 DR0: 11 bytes."""
    board = make()
    board.modem.limit = 11
    board.start()
    told = "bytes are too long for this data rate: raise it, or lower max_pdu"
    board.until(lambda: told in board.ask("links", "serial"))
    assert board.modem.uplinks == 0
