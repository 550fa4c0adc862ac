"""Every state with every input, on both ends: what the tables say is what happens, the rest counts."""

from collections.abc import Callable
from itertools import product

import pytest
from by_hand import NONCE, down, welcome
from memory_host import MemoryJournal
from memory_log import PSK, STREAM, MemoryLog, events_of, fill, packets_of
from meuse_protocol import host_states, states
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.errors import LocalError
from meuse_protocol.host_endpoint import HostEndpoint, Record
from meuse_protocol.messages import (
    ACK,
    BLOB,
    CMD,
    ERR,
    NEED,
    PING,
    TIME,
    WELCOME,
    record,
    splice,
)
from test_host_endpoint import OLD_PSK, blob, hello, up

NOW_MS = 1_000_000

# --- the board


def board_in(state: str) -> BoardEndpoint:
    """An endpoint with something in flight, brought into `state` at NOW_MS by packets alone."""
    log = MemoryLog()
    fill(log, 20)
    board = BoardEndpoint("stove-1", STREAM, PSK, log)
    begin_ms = NOW_MS - 10_001 if state == states.QUIET else NOW_MS - 100
    board.link_up(begin_ms, 1024, NONCE)
    packets_of(board, begin_ms)
    way = {
        states.GREETING: [],
        states.READY: [welcome()],
        states.HELD: [welcome(win=0)],
        states.QUIET: [],
        states.REFUSED: [welcome(version=0x20)],
        states.DOWN: [],
    }
    for e2e in way[state]:
        board.receive(e2e, NOW_MS)
    if state == states.DOWN:
        board.link_down(NOW_MS)
    packets_of(board, NOW_MS)
    assert board.state == state
    events_of(board)
    board.counters = {}
    return board


def silence(board: BoardEndpoint) -> None:
    board.next_pdu(NOW_MS + 20_000)


BOARD_INPUTS: dict[int, list[Callable[[BoardEndpoint], None]]] = {
    states.LINK_UP: [lambda board: board.link_up(NOW_MS, 1024, NONCE)],
    states.LINK_DOWN: [lambda board: board.link_down(NOW_MS)],
    states.SILENCE: [silence],
}
BOARD_PACKETS = {
    states.WELCOMED: [welcome()],
    states.WELCOMED_HELD: [welcome(win=0)],
    states.REFUSAL: [welcome(version=0x20), down(ERR, 1, "2.0..2.1")],
    states.ACKED: [down(ACK, 2, 32), down(ACK, 2, 1)],
    states.ACKED_HELD: [down(ACK, 2, 0)],
    states.HEARD: [
        down(TIME, NONCE + 1, 5, 0),
        down(CMD, 1, [1, 2], "x", None),
        down(NEED, 0, [1]),
        down(NEED, 3),
        down(ERR, 5, "conflict", 3),
    ],
    states.CALLED: [down(NEED, 1), splice(record(NEED, 1), 0)],
    states.NOTED: [splice(record(ERR, 1, "1.0..1.0"), 0), splice(record(ERR, 6, "?"), STREAM)],
    states.ALIEN: [down(PING), down(BLOB, 1, 1, None, b"")],
}
for _event, _packets in BOARD_PACKETS.items():
    BOARD_INPUTS[_event] = [lambda board, e2e=e2e: board.receive(e2e, NOW_MS) for e2e in _packets]


def test_every_state_has_a_cell_for_every_input() -> None:
    assert {len(row) for row in states.BOARD.values()} == {len(BOARD_INPUTS)}
    assert {len(row) for row in host_states.HOST.values()} == {len(HOST_INPUTS)}
    for table in (states.BOARD, host_states.HOST):
        assert set("".join(table.values())) - {"."} == set(table)


@pytest.mark.parametrize(("state", "event"), list(product(states.BOARD, BOARD_INPUTS)))
def test_board(state: str, event: int) -> None:
    expected = states.BOARD[state][event]
    for act in BOARD_INPUTS[event]:
        board = board_in(state)
        if expected == "." and event == states.LINK_UP:
            with pytest.raises(LocalError):
                act(board)
            assert board.state == state
            continue
        act(board)
        if expected != ".":
            assert board.state == expected
            assert "unexpected" not in board.counters
            continue
        assert board.state == state
        if event != states.SILENCE:  # a timer that does not run in this state
            assert board.counters == {"unexpected": 1}
            assert events_of(board) == []


@pytest.mark.parametrize("state", list(states.BOARD))
def test_records_flow_in_two_states_only(state: str) -> None:
    board = board_in(state)
    board.record_added(board._log.append(BLOB, 1, None, b"new"), urgent=True)
    board.receive(down(ACK, 9, 32), NOW_MS) if state in "GR" else None
    sent = [e2e for e2e in packets_of(board, NOW_MS) if e2e[1] < 16]
    assert bool(sent) == (state in (states.GREETING, states.READY))


# --- the host


def host_in(state: str) -> HostEndpoint:
    journal = MemoryJournal({"stove-1": [PSK], "other": [OLD_PSK]})
    journal.bind(STREAM, "stove-1")
    host = HostEndpoint(journal)
    if state != host_states.OPEN:
        host.receive(hello(), NOW_MS - 5000)
    if state == host_states.MUTE:
        for _ in range(11):
            host.receive(blob(1, psk=OLD_PSK), NOW_MS - 5000)
    assert host.state == state
    packets_of(host, NOW_MS - 5000)
    events_of(host)
    host.counters = {}
    return host


def flood(host: HostEndpoint) -> None:
    for _ in range(11):
        host.receive(blob(1, psk=OLD_PSK), NOW_MS)


HOST_INPUTS: dict[int, list[Callable[[HostEndpoint], None]]] = {
    host_states.FLOOD: [flood],
    host_states.CALM: [lambda host: host.receive(b"", NOW_MS + 5000)],
}
HOST_PACKETS = {
    host_states.HELLO_GOOD: [hello(), hello(next_seq=9, nonce=8)],
    host_states.HELLO_BAD: [
        hello(psk=OLD_PSK),
        hello(name="nobody"),
        hello(version=0x0F),
        hello(name="other", psk=OLD_PSK),
    ],
    host_states.FULL: [blob(1), up(PING), up(77, 1)],
    host_states.SHORT: [blob(1, stream=0), up(PING, stream=0)],
    host_states.STRANGER: [blob(1, stream=STREAM + 1, own=STREAM + 1), blob(1, stream=5)],
    host_states.FORGED: [blob(1, psk=OLD_PSK), up(PING, psk=OLD_PSK), blob(1, psk=None)],
    host_states.FOREIGN: [up(ACK, 1), up(WELCOME, 16, 0, 0, 1, 32, 7)],
}
for _event, _packets in HOST_PACKETS.items():
    HOST_INPUTS[_event] = [lambda host, e2e=e2e: host.receive(e2e, NOW_MS) for e2e in _packets]


@pytest.mark.parametrize(("state", "event"), list(product(host_states.HOST, HOST_INPUTS)))
def test_host(state: str, event: int) -> None:
    expected = host_states.HOST[state][event]
    for act in HOST_INPUTS[event]:
        host = host_in(state)
        act(host)
        if expected != ".":
            assert host.state == expected
            assert "unexpected" not in host.counters
            continue
        assert host.state == state
        if event == host_states.CALM:
            assert host.counters == {"malformed": 1}
        else:
            assert len(host.counters) == 1
            assert not any(isinstance(found, Record) for found in events_of(host))
            counter = "muted" if state == host_states.MUTE else "unexpected"
            if event == host_states.SHORT and state == host_states.OPEN:
                counter = "unbound"
            assert list(host.counters) == [counter]
