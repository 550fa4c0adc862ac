"""Sealed records: what a board hides a host with the key opens, and nobody else."""

from binascii import unhexlify

from aes_here import aes
from by_hand import NONCE
from memory_host import MemoryHost, MemoryJournal, exchange
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse_protocol import states
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.errors import LocalError, RemoteError
from meuse_protocol.messages import BLOB, DATA, SEALED, head, record
from meuse_protocol.sealing import seal, seal_key, unseal
from vector_lines import lines


def test_the_counter_blocks_are_those_of_the_specification():
    seen = []

    def ecb(blocks):
        seen.append(blocks)
        return bytes(len(blocks))

    plain = record(BLOB, 7, 1, None, b"x" * 30)
    sealed = seal(ecb, STREAM, plain)
    at = bytes([0x80, 0, 0, 1, 0, 0, 0, 7]) + bytes(8)
    assert seen[0][:16] == at and seen[0][16:32] == at[:15] + b"\x01"
    assert sealed == record(SEALED, 7, plain[:2] + plain[3:])  # hidden by zeros


def test_every_record_comes_back_as_it_was():
    ecb = aes(seal_key(PSK, STREAM))
    for body in ((1, None, b""), (1, None, bytes(range(256)) * 3), tuple(range(13)), tuple(range(40))):
        for seq in (1, 127, 128, 65536, 2**32 - 1):
            plain = record(DATA if len(body) > 3 else BLOB, seq, *body)
            sealed = seal(ecb, STREAM, plain)
            assert sealed != plain and unseal(ecb, STREAM, sealed) == plain


def test_the_vectors():
    for vector in lines("sealed.jsonl"):
        ecb = aes(seal_key(unhexlify(vector["key"]), vector["stream"]))
        plain, sealed = unhexlify(vector["record"]), unhexlify(vector["sealed"])
        assert seal(ecb, vector["stream"], plain) == sealed
        assert unseal(ecb, vector["stream"], sealed) == plain


def test_what_is_no_sealed_record_is_refused():
    inside = (b"", b"\x93", b"\xff" * 20, b"\x93\x09\x01", b"\x93\x10\x01")
    bad = [record(SEALED, 5, content) for content in inside]
    bad += [record(SEALED, 5, "text"), record(SEALED, 5, None)]
    for sealed in bad:
        try:
            unseal(lambda blocks: bytes(len(blocks)), STREAM, sealed)
            assert False, sealed
        except RemoteError:
            pass


def joined(board_aes, host_aes, psk=PSK):
    journal = MemoryJournal({"stove-1": [psk]})
    host = MemoryHost(journal, aes=host_aes)
    log = MemoryLog()
    fill(log, 20)
    board = BoardEndpoint("stove-1", STREAM, PSK, log, aes=board_aes)
    board.link_up(0, 1024, NONCE)
    return board, log, host, journal


def test_a_sealed_link_carries_nothing_readable_and_stores_the_same():
    board, log, host, journal = joined(aes, aes)
    packets = packets_of(board, 0)
    assert {head(e2e)[0] for e2e in packets[1:]} == {SEALED}
    assert not [e2e for e2e in packets[1:] if b"record" in e2e]
    for e2e in packets:
        host.receive(e2e, 0)
    exchange(board, host, 300)
    assert journal.records == {(STREAM, seq): log.created[seq] for seq in log.created}
    assert log.oldest() == log.next_seq()


def test_the_same_record_by_a_plain_and_by_a_sealed_link_is_the_same():
    board, log, host, journal = joined(aes, aes)
    plain = BoardEndpoint("stove-1", STREAM, PSK, log)
    plain.link_up(0, 1024, NONCE)
    for endpoint in (board, plain):
        for e2e in packets_of(endpoint, 0):
            host.receive(e2e, 0)
    host.commit(0)
    for e2e in packets_of(board, 5000):
        host.receive(e2e, 5000)
    assert "conflict" not in host.endpoint.counters and "duplicate" in host.endpoint.counters


def test_a_host_without_a_cipher_stores_what_came():
    board, log, host, journal = joined(aes, None)
    exchange(board, host, 0)
    assert journal.records and {made[1] for made in journal.records.values()} == {SEALED}


def test_sealing_needs_a_key():
    try:
        BoardEndpoint("stove-1", STREAM, None, MemoryLog(), aes=aes)
        assert False
    except LocalError:
        pass


def test_sealed_records_go_in_parts_like_others():
    board, log, host, journal = joined(aes, aes)
    board.link_down(0)
    board.link_up(0, 72, NONCE + 1)
    log.append(BLOB, 1, None, bytes(200))
    exchange(board, host, 0)
    exchange(board, host, 300)
    assert board.state == states.READY
    assert journal.records == {(STREAM, seq): log.created[seq] for seq in log.created}
