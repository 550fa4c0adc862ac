"""Relays in virtual time: nothing lost, nothing goes round, nobody starves, and what waits is bounded."""

import pytest
from memory_log import PSK
from meuse_board.relay import BUFFER_BYTES, DOWN_MAX, ORIGINS_MAX, Lower, Relay, Upper
from meuse_protocol import states
from meuse_protocol.auth import UP, direction_keys, mac
from meuse_protocol.messages import ACK, BLOB, DATA, HELLO, NEED, PING, head, record, splice

from .relay_world import STEP_MS, Babbler, End, Node, World

OWN, OTHER, THIRD = 0x80000001, 0x80000002, 0x80000003


def chain(world: World, boards: int, **wire: int) -> tuple[list[End], Node]:
    """(all wires' lower ends, the farthest board) of so many boards in a row below a host."""
    ends = []
    low, high = world.wire("host", **wire)
    world.host(high)
    ends.append(low)
    for n in range(boards - 1):
        below, above = world.wire(f"cable-{n}", **wire)
        Node(world, f"relay-{n}", [low], [above])
        ends.append(below)
        low = below
    return ends, Node(world, "far", [low], [])


def held(relay: Relay) -> int:
    return sum(len(e2e) for origin in relay._origins for e2e in origin.waiting)


@pytest.mark.link(
    "relay", board="relays, runners and endpoints, CPython", wire="simulated, 20 % loss each way", host="in memory"
)
def test_four_boards_in_a_row_lose_nothing_where_every_fifth_packet_is_lost() -> None:
    world = World(11)
    ends, _ = chain(world, 4)
    for end in ends:
        end.loss = end.other.loss = 0.2  # type: ignore[union-attr]
    for _ in range(100):
        for node in world.nodes:
            node.add()
        world.run(0.2)
    assert world.drain(600)
    world.complete()


def test_a_cut_anywhere_in_the_row_is_mended_and_nothing_is_lost() -> None:
    world = World(12)
    ends, _ = chain(world, 3)
    for end in ends * 2:
        for dead in (True, False):
            end.dead = dead
            for _ in range(10):
                for node in world.nodes:
                    node.add()
                world.run(3)
    assert world.drain(400)
    world.complete()


def test_what_waits_is_bounded_however_long_the_host_is_away() -> None:
    world = World(13)
    low, high = world.wire("host")
    world.host(high)
    wires = [world.wire(f"cable-{n}") for n in range(3)]
    gateway = Node(world, "gateway", [low], [above for _, above in wires])
    origins = [Node(world, f"origin-{n}", [below], []) for n, (below, _) in enumerate(wires)]
    world.run(2)
    low.dead = True
    most = 0
    for _ in range(120):
        for node in origins:
            node.add(1, 200)
        world.run(1)
        most = max(most, held(gateway.relay))  # type: ignore[arg-type]
    assert BUFFER_BYTES - 300 < most <= BUFFER_BYTES
    assert gateway.relay and gateway.relay.counters["no room"] > 0
    low.dead = False
    assert world.drain(400)
    world.complete()
    assert any("no room" in told for told in gateway.told)


def test_a_babbler_starves_neither_the_board_beside_it_nor_the_relay() -> None:
    """The way up takes a tenth of what it sends. It knows its key, and sends new records for ever."""
    world = World(14)
    low, high = world.wire("host", bytes_per_s=2000)
    host = world.host(high)
    bad_low, bad_high = world.wire("bad", bytes_per_s=20_000)
    good_low, good_high = world.wire("good")
    gateway = Node(world, "gateway", [low], [bad_high, good_high])
    good = Node(world, "good", [good_low], [])
    stream, seq = 0x8000AAAA, 0
    keys = direction_keys(PSK, stream)
    world.journal.devices["babbler"] = [PSK]
    world.journal.bind(stream, "babbler")

    def packet() -> bytes:
        nonlocal seq
        seq += 1
        body = record(BLOB, seq, 1, None, world.rng.randbytes(150))
        return splice(body, stream) + mac(keys[0], UP, stream, body, 8)

    babbler = Babbler(bad_low, packet)
    for second in range(120):
        good.add()
        gateway.add()
        for _ in range(1000 // STEP_MS):
            babbler.step(world.now)
            world.step()
        if second > 10:
            assert good.waiting < 12 and gateway.waiting < 12, second
    assert host.endpoint.packets(stream) > 300  # it has its share, too
    assert gateway.relay and gateway.relay.counters["no room"] > 1000


def test_two_relays_that_have_lost_their_hosts_do_not_send_each_other_round_and_round() -> None:
    """Each is the other's second way up. Both lose their host unnoticed: each believes in the other for a while."""
    world = World(15)
    hosts = [world.wire("host-a"), world.wire("host-b")]
    for _, high in hosts:
        world.host(high)
    a_up, b_down = world.wire("a-to-b")
    b_up, a_down = world.wire("b-to-a")
    below, above = world.wire("cable")
    a = Node(world, "a", [hosts[0][0], a_up], [above, a_down])
    b = Node(world, "b", [hosts[1][0], b_up], [b_down])
    origin = Node(world, "origin", [below], [])
    for node in world.nodes:
        node.add(5)
    world.run(20)
    assert not any(node.waiting for node in world.nodes)
    for low, _ in hosts:
        low.dead = True
    for _ in range(60):
        for node in world.nodes:
            node.add()
        world.run(1)
    crossed = a_up.crossed + b_up.crossed
    assert a_up.sent and b_up.sent
    made = origin.endpoint.stream, a.log.stream, b.log.stream
    assert {head(e2e)[1] for e2e in crossed} <= {0, *made}
    data = {e2e: n for e2e, n in crossed.items() if head(e2e)[0] < HELLO}
    print(f"{sum(crossed.values())} packets crossed, the same record {max(data.values(), default=0)} times at most")
    assert max(data.values(), default=0) <= 8, "the same record again and again"
    assert sum(crossed.values()) < 60 * 12, "a few a second: HELLOs, probes"
    for low, _ in hosts:
        low.dead = False
    assert world.drain(900)
    world.complete()


# -- one relay by hand


class App:
    """What a relay knows of its board."""

    def __init__(self, own: int) -> None:
        self.log = type("Log", (), {"stream": own})

    def append(self, kind: int, body: object) -> None:
        pass


def by_hand(lowers: int = 1, is_open: bool = True, own: int = OWN) -> tuple[Relay, list[Lower]]:
    relay = Relay(App(own), None, None)
    upper = type("Open", (), {"carries": lambda self: is_open, "doubt": lambda self, now: None})()
    relay._uppers.append(upper)
    made = []
    for _ in range(lowers):
        lower = Lower(relay, 100)
        lower.link_up(0, 100, 0, True)
        relay._lowers.append(lower)
        made.append(lower)
    for lower in made if is_open else ():
        assert lower.next_pdu(0) == splice(record(NEED, 1), 0)  # the way up is open
    return relay, made


def data(stream: int, seq: int, size: int = 10) -> bytes:
    return splice(record(BLOB, seq, 1, None, bytes(size)), stream)


def test_a_packet_goes_up_as_it_came_and_the_answer_finds_its_board() -> None:
    relay, (first, second) = by_hand(2)
    first.receive(data(OTHER, 1), 10)
    second.receive(data(THIRD, 1), 10)
    assert {relay.next(1024, 10), relay.next(1024, 10), relay.next(1024, 10)} == {data(OTHER, 1), data(THIRD, 1), None}
    ack = splice(record(ACK, 2, 32), THIRD)
    assert relay.down(ack)
    assert second.next_pdu(10) == ack and first.next_pdu(10) is None
    assert not relay.down(splice(record(ACK, 2, 32), OWN)) and not relay.down(splice(record(ACK, 2, 32), 0))
    assert relay.down(splice(record(ACK, 2, 32), 0x80000009)) and relay.counters == {"nowhere": 1}


def test_in_a_ring_where_each_believes_in_the_next_a_packet_goes_round_once() -> None:
    ring = [by_hand(2, own=OWN + n) for n in range(3)]
    for seq in range(1, 11):
        ring[0][1][0].receive(data(0x80000010, seq), 0)  # of a board below the first
        ring[1][1][1].receive(data(OWN, seq), 0)  # of the first itself, to the second
    crossed = 0
    for now in range(0, 9000, 50):
        for n, (relay, _) in enumerate(ring):
            while e2e := relay.next(1024, now):
                ring[(n + 1) % 3][1][1].receive(e2e, now)
                crossed += 1
    assert crossed == 3 * 10 + 2 * 10
    assert ring[0][0].counters == {"repeated": 10, "our own": 10}


def test_what_comes_the_wrong_way_or_from_ourselves_is_dropped() -> None:
    relay, (lower,) = by_hand()
    lower.receive(splice(record(ACK, 2, 32), OTHER), 10)
    lower.receive(data(OWN, 1), 10)
    lower.receive(b"\x91", 10)
    assert relay.down(data(OTHER, 1))
    assert relay.next(1024, 10) is None
    assert relay.counters == {"wrong way": 2, "our own": 1, "malformed": 1}


def test_the_same_packet_is_an_echo_on_one_link_for_a_moment_and_on_another_for_long() -> None:
    relay, (first, second) = by_hand(2)
    for now, lower in ((0, first), (500, first), (5000, second), (6000, first), (20_000, second)):
        lower.receive(data(OTHER, 1), now)
        while relay.next(1024, now):
            pass
    assert relay.passed_up == 3 and relay.counters == {"repeated": 2}


def test_a_short_name_becomes_a_full_one_where_it_can_mean_one_board_only() -> None:
    relay, (lower,) = by_hand()
    lower.receive(data(0, 1), 10_000)
    assert lower.next_pdu(10_000) == splice(record(NEED, 1), 0), "who is there?"
    lower.receive(splice(record(HELLO, 16, 0, 1, 1, 100, 32, "a", [], 1), OTHER), 10_000)
    lower.receive(data(0, 1), 10_010)
    assert relay.next(1024, 10_010)[1] == HELLO and relay.next(1024, 10_010) == data(OTHER, 1)
    lower.receive(data(THIRD, 1), 20_000)
    assert relay.next(1024, 20_000) == data(THIRD, 1)
    lower.receive(data(0, 2), 20_000)
    assert relay.next(1024, 20_000) is None and lower.next_pdu(20_000)[1] == NEED
    assert relay.counters == {"nameless": 2}


def test_no_more_boards_than_there_is_room_for_and_the_silent_make_way() -> None:
    relay, (lower,) = by_hand()
    for n in range(ORIGINS_MAX):
        lower.receive(data(OTHER + n, 1), n)
    lower.receive(data(0x8000FFFF, 1), 1000)
    assert relay.counters == {"crowded": 1}
    lower.receive(data(0x8000FFFF, 2), 60_000)
    assert len(relay._origins) == ORIGINS_MAX and relay.counters == {"crowded": 1, "no room": 1}
    assert OTHER not in [origin.stream for origin in relay._origins], "the one silent for longest"


def test_without_a_host_only_what_helps_later_is_kept() -> None:
    relay, (lower,) = by_hand(is_open=False)
    for nonce in (1, 2):
        lower.receive(splice(record(HELLO, 16, 0, 1, 1, 100, 32, "a", [], nonce), OTHER), nonce)
    lower.receive(splice(record(PING), OTHER), 10)
    lower.receive(splice(record(DATA, 1, 1), OTHER), 10)
    assert [e2e[1] for e2e in relay._origins[0].waiting] == [HELLO, DATA]
    assert relay._origins[0].waiting[0][-1] == 2, "the newest HELLO only"


def test_packets_too_large_for_the_next_link_are_dropped_and_counted() -> None:
    relay, (lower,) = by_hand()
    lower.receive(data(OTHER, 1, 90), 10)
    lower.receive(data(OTHER, 2, 10), 10)
    assert relay.next(64, 10) == data(OTHER, 2, 10)
    relay.down(splice(record(ACK, 1, 32, bytes(100)), OTHER))
    assert relay.counters == {"too large": 2}


def test_what_waits_downward_is_bounded_and_a_newer_ack_says_it_all() -> None:
    relay, (lower,) = by_hand()
    lower.receive(data(OTHER, 1), 10)
    for cum in range(2, 50):
        relay.down(splice(record(ACK, cum, 32), OTHER))
    assert lower.next_pdu(10) == splice(record(ACK, 49, 32), OTHER) and lower.next_pdu(10) is None
    for n in range(DOWN_MAX + 3):
        relay.down(splice(record(NEED, 0, [n]), OTHER))
    assert relay.counters == {"no room downward": 3}
    assert "carries for 1 boards" in relay.words(lower, type("Link", (), {"up": True}))


def test_an_endpoint_upward_says_in_its_hello_that_it_carries_for_others() -> None:
    assert Upper.features == 1
    world = World(1)
    chain(world, 2)
    world.run(2)
    (host, _), *_ = world.hosts
    assert host.endpoint.several and all(node.endpoint.state == states.READY for node in world.nodes)
