"""A board's endpoint and packets of its host, made by hand; for tests on both runtimes."""

from memory_log import PSK, STREAM, MemoryLog, events_of, fill, packets_of
from meuse_protocol.auth import DOWN, UP, direction_keys, mac
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import WELCOME, parse, record, splice

NONCE = 0xC0FFEE
KEYS = direction_keys(PSK, STREAM)
UTC = 1800000000000


def down(kind, *body, stream=0, mac_bytes=8):
    """A packet of the host."""
    r = record(kind, *body)
    return splice(r, stream) + mac(KEYS[1], DOWN, STREAM, r, mac_bytes)


def welcome(cum=1, win=32, version=0x10, nonce=NONCE, alias=0):
    return down(WELCOME, version, 0, alias, cum, win, nonce)


def opened(e2e):
    """(type, stream, body...) of a packet of the board, its MAC verified."""
    pdu = parse(e2e, 8)
    assert pdu.mac == mac(KEYS[0], UP, STREAM, pdu.record, 8)
    return pdu.fields


def seqs(packets):
    return [opened(e2e)[2] for e2e in packets if opened(e2e)[0] < 16]


def kinds(packets):
    return [opened(e2e)[0] for e2e in packets]


def board(records=0, psk=PSK):
    log = MemoryLog()
    fill(log, records)
    return BoardEndpoint("stove-1", STREAM, psk, log), log


def ready(records=0, now_ms=0):
    """Welcomed, its first TIMEQ gone, nothing sent yet beyond the first window."""
    endpoint, log = board(records)
    endpoint.link_up(now_ms, 1024, NONCE)
    packets_of(endpoint, now_ms)
    endpoint.receive(welcome(), now_ms)
    packets_of(endpoint, now_ms)
    events_of(endpoint)
    return endpoint, log
