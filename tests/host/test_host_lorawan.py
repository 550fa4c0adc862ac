"""The running host behind ChirpStack's broker: stored once, few downlinks, and nothing but counters for nonsense."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from meuse import bridge
from meuse.errors import ConfigError
from meuse.links import lorawan
from meuse.links.lorawan import LorawanLink
from meuse.run import Host
from meuse_protocol import host_replies

from tests.brokers import Broker
from tests.host.hosts import ask, events, key_of, running, stored
from tests.host.light_board import until
from tests.host.lorawan_network import LorawanBoard, Network, event

EUI = "0102030405060708"
BOARD = "light client on the shared protocol, in virtual time, 20 % lost each way"
WIRE = "real nats-server; events of ChirpStack's documentation"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker("nats", tmp_path / "broker") as broker:
        yield broker


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The radio's seconds are not waited for: a board's slots follow each other at once, and so may what it asks."""
    monkeypatch.setattr(lorawan, "ANSWER_S", 0.01)
    monkeypatch.setattr(host_replies, "SECOND_MS", 1)


def settings(broker: Broker, **more: object) -> dict[str, object]:
    return {"tcp": {"listen": []}, "lorawan": {"url": f"mqtt://127.0.0.1:{broker.port}", **more}}


async def connected(host: Host, network: Network) -> LorawanLink:
    (link,) = (link for link in host.listening.links if isinstance(link, LorawanLink))
    await until(lambda: link._connection is not None and network.listens, "the broker")
    network.before, network.settled = len(network.commands), host.commits.settled
    return link


# What a downlink may cost at most: one for eight records, and those for HELLO, time and losses.
@pytest.mark.link("lorawan", board=BOARD, wire=WIRE, host="meuse run")
@pytest.mark.parametrize(("mtu", "size", "records"), [(51, 24, 120), (222, 190, 120), (51, 90, 20)])
@pytest.mark.parametrize("lose", [0.0, 0.2])
def test_every_record_is_stored_once_with_few_downlinks(
    tmp_path: Path, broker: Broker, mtu: int, size: int, records: int, lose: float
) -> None:
    async def scene() -> None:
        network = Network(broker.port)
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            board = LorawanBoard("stove-1", EUI, key_of(tmp_path, "stove-1"), mtu, lose)
            board.add(records, size)
            await board.drain(network, link, 900)
            assert stored(tmp_path, board.log.stream) == board.log.created
        network.close()
        print(f"{records} records at {mtu}, {lose:.0%} lost: {board.uplinks} uplinks, {link.downlinks} downlinks")
        parts = 1 if size + 20 < mtu else 5
        assert board.uplinks <= records * parts * (1 if lose == 0 else 1.7) + 10
        assert link.downlinks <= (board.uplinks / 8 + 6 if lose == 0 else board.uplinks / 4 + 6)

    asyncio.run(scene())


def test_a_board_that_speaks_once_an_hour_is_heard_after_the_host_restarted(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It uses the short name of its stream, which the new host does not know: one downlink asks for its HELLO."""
    monkeypatch.setattr(bridge, "STRANGER_S", 0.05)

    async def scene() -> None:
        network = Network(broker.port)
        board = LorawanBoard("stove-1", EUI, key_of(tmp_path, "stove-1"), 51)
        board.add(3, 20)
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            for _ in range(5):
                await board.slot(network, link)
            assert len(host.bridge.sessions) == 1, "30 s without HELLO are nothing here"
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            board.add(1, 20)
            board.now_ms += 3_600_000
            await board.slot(network, link)
            assert host.bridge.totals()["unbound"] == 1
            assert link.downlinks == 1
            board.add(10, 20)
            await board.drain(network, link, 40)
            assert stored(tmp_path, board.log.stream) == board.log.created
        network.close()

    asyncio.run(scene())


def test_strangers_get_one_answer_in_ten_minutes(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        network = Network(broker.port)
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            stranger = LorawanBoard("stove-2", EUI, bytes(32), 51)
            stranger.add(40, 20)
            for count in range(30):
                e2e = stranger.endpoint.next_pdu(count * 120_000)
                if e2e:
                    await network.up(EUI, json.dumps(event(EUI, count, e2e)).encode())
            await until(lambda: link.uplinks >= 9, "they came")
            await until(lambda: link.downlinks == 1, "one is answered")
            assert ask(tmp_path, "SELECT count(*) FROM records") == [(0,)]
            assert host.bridge.totals()["unknown_device"] >= 1
        assert link.downlinks == 1
        network.close()

    asyncio.run(scene())


NONSENSE = [
    b"",
    b"not JSON",
    b"[" * 30_000,
    b"\xff\xfe{}",
    b'{"data": 1e999999}',
    json.dumps([1]).encode(),
    json.dumps(event("0000000000000000", 1, b"another device")).encode(),
    json.dumps(event(EUI, 1, b"x") | {"data": "@@@"}).encode(),
    json.dumps(event(EUI, 1, b"x") | {"data": None}).encode(),
    json.dumps(event(EUI, 1, bytes(300))).encode(),
    json.dumps(event(EUI, 1, b"x") | {"fCnt": "7"}).encode(),
    json.dumps(event(EUI, 1, b"x") | {"rxInfo": [7]}).encode(),
    json.dumps(event(EUI, 1, b"")).encode(),
]


def test_nonsense_costs_a_counter_and_no_session(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        network = Network(broker.port)
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            for payload in NONSENSE:
                await network.up(EUI, payload)
            await network.up("NO-EUI", json.dumps(event(EUI, 1, b"x")).encode())
            await network.up(EUI, json.dumps(event(EUI, 1, b"x", fPort=1)).encode())
            count = host.bridge.counters
            await until(lambda: count.get("lorawan_other_port"), "the last one is counted")
            # The filter of the subscription matches empty payloads too.
            assert count["lorawan_malformed"] == len(NONSENSE) + 1
            assert not link.peers and not host.bridge.sessions
            assert link.uplinks == 0

            board = LorawanBoard("stove-1", EUI, key_of(tmp_path, "stove-1"), 51)
            board.add(3, 20)
            payload = json.dumps(event(EUI, 9, board.endpoint.next_pdu(0) or b"")).encode()
            for _ in range(3):
                await network.up(EUI, payload)
            await until(lambda: count.get("lorawan_repeated") == 2, "repetitions are counted")
            assert link.uplinks == 1
            await board.drain(network, link, 60)
            assert stored(tmp_path, board.log.stream) == board.log.created
        network.close()

    asyncio.run(scene())


def test_us915_dr0_is_refused_with_the_way_out(tmp_path: Path, broker: Broker) -> None:
    us915 = [{"gatewayId": "0016c001f153a14c", "metadata": {"region_name": "us915_0", "region_common_name": "US915"}}]

    async def scene() -> None:
        network = Network(broker.port)
        async with running(tmp_path, **settings(broker)) as host:
            link = await connected(host, network)
            for count in range(3):
                await network.up(EUI, json.dumps(event(EUI, count, b"elevenbytes", dr=0, rxInfo=us915)).encode())
            await until(lambda: host.bridge.counters.get("lorawan_too_slow") == 3, "they are counted")
            assert link.uplinks == link.downlinks == 0
            await network.up(EUI, json.dumps(event(EUI, 4, b"\x93\x01\x02\x03 more", dr=1, rxInfo=us915)).encode())
            await until(lambda: link.uplinks == 1, "a faster one is heard")
            await until(lambda: "lorawan-refused" in events(tmp_path), "and people are told")
            ((detail,),) = ask(tmp_path, "SELECT detail FROM events WHERE kind = 'lorawan-refused'")
            assert "begin at DR1" in str(detail)
        network.close()

    asyncio.run(scene())


def test_boards_take_no_more_than_the_room_there_is(tmp_path: Path, broker: Broker) -> None:
    async def scene() -> None:
        network = Network(broker.port)
        async with running(tmp_path, **settings(broker, max_devices=4)) as host:
            link = await connected(host, network)
            for number in range(30):
                eui = f"{number:016x}"
                await network.up(eui, json.dumps(event(eui, 1, b"\x93\x01\x02\x03" + bytes(4))).encode())
            await until(lambda: link.uplinks == 30, "all came")
            assert len(host.bridge.sessions) == len(link.peers) == 4
            assert link.evicted == 26
        network.close()

    asyncio.run(scene())


def test_its_settings_are_checked(tmp_path: Path) -> None:
    async def start(**lorawan: object) -> None:
        async with running(tmp_path, lorawan=lorawan):
            pass

    for table, why in (
        ({"application": "a/#", "url": "mqtt://a"}, r"lorawan\.application is no id"),
        ({"f_port": 0}, r"lorawan\.f_port = 0"),
        ({"application": "a"}, r"lorawan\.url is missing"),
    ):
        with pytest.raises(ConfigError, match=why):
            asyncio.run(start(**table))
