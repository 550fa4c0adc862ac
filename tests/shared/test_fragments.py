"""Records in parts: cut by a board, put together by a host, whatever the line does to the parts."""

from binascii import unhexlify

from by_hand import NONCE
from memory_host import MemoryHost, MemoryJournal, exchange
from memory_log import PSK, STREAM, Lcg, MemoryLog, packets_of
from meuse_protocol import states
from meuse_protocol.assembly import BYTES_MAX, PARTIAL_MAX, Assembly
from meuse_protocol.fragments import Fragments
from meuse_protocol.messages import BLOB, FRAG, FRAG0, head, parse, pdu
from meuse_protocol.shared_endpoint import SharedEndpoint
from vector_lines import lines

LONG = bytes(range(200)) * 2


def test_the_vectors():
    for vector in lines("parts.jsonl"):
        whole, parts = unhexlify(vector["whole"]), [unhexlify(part) for part in vector["parts"]]
        seq = parse(parts[0]).seq
        fragments, assembly, found = Fragments(vector["mtu"]), Assembly(), None
        fragments.add(seq, 0, len(whole))
        for i in range(len(parts)):
            assert fragments.next(whole, vector["stream"]) == (parts[i], i == len(parts) - 1)
            kind, _, seq, number, part = parse(parts[i]).fields
            first = kind == FRAG0
            found = assembly.add(seq, number if first else 0, 0 if first else number, part, 0)
        assert found == whole and not len(fragments)


def pair(mtu, psk=PSK, ordered=True):
    journal = MemoryJournal({"stove-1": [psk] if psk else []})
    host = MemoryHost(journal, trusted=not psk)
    log = MemoryLog()
    board = SharedEndpoint("stove-1", STREAM, psk, log)
    board.link_up(0, mtu, NONCE, ordered)
    exchange(board, host, 0)
    assert board.state == states.READY
    return board, log, host, journal


def add(board, log, content):
    seq = log.append(BLOB, 1, None, content)
    board.record_added(seq)
    return seq


def test_a_record_longer_than_the_link_goes_in_parts_and_is_stored_whole():
    for mtu in (70, 115, 222):
        for psk in (PSK, None):
            board, log, host, journal = pair(mtu, psk)
            seq = add(board, log, LONG)
            packets = packets_of(board, 500)
            assert {head(e2e)[0] for e2e in packets} == {FRAG0, FRAG}
            assert max([len(e2e) for e2e in packets]) <= mtu
            assert len(packets) == -(-(len(log.created[seq]) + (8 if psk else 0)) // (mtu - 18))
            for e2e in packets:
                host.receive(e2e, 500)
            host.commit(500)
            exchange(board, host, 800)
            assert journal.records == {(STREAM, seq): log.created[seq]} and log.oldest() == 2


def test_parts_come_in_any_order_doubled_and_from_links_of_different_width():
    board, log, host, journal = pair(70)
    wide, _ = SharedEndpoint("stove-1", STREAM, PSK, log), None
    wide.join(board)
    seq = add(board, log, LONG)
    wide.link_up(0, 115, NONCE)
    narrow = packets_of(board, 500)
    broad = [e2e for e2e in packets_of(wide, 500) if head(e2e)[0] in (FRAG, FRAG0)]
    rng = Lcg(5)
    mixed = narrow[:4] + broad[3:] + narrow[2:6] + broad[:4]
    while mixed:
        host.receive(mixed.pop(rng.below(len(mixed))), 500)
    host.commit(500)
    assert journal.records == {(STREAM, seq): log.created[seq]}


def test_only_the_missing_parts_are_asked_for():
    board, log, host, journal = pair(70)
    seq = add(board, log, LONG)
    packets = packets_of(board, 500)
    for e2e in packets[:2] + packets[3:]:
        host.receive(e2e, 500)
    wishes = packets_of(host.endpoint, 500)
    assert len(wishes) == 1
    board.receive(wishes[0], 501)
    again = packets_of(board, 501)
    assert again == packets[2:3]
    host.receive(again[0], 502)
    host.commit(502)
    assert journal.records == {(STREAM, seq): log.created[seq]}


def test_the_end_comes_again_and_again_and_parts_are_wished_for_once_a_second():
    board, log, host, _ = pair(70)
    add(board, log, LONG)
    packets = packets_of(board, 500)
    for _ in range(20):
        host.receive(packets[-1], 500)
        host.receive(packets[0], 500)
    assert len(packets_of(host.endpoint, 500)) == 1


def test_forged_parts_cost_a_partial_record_and_nothing_else():
    board, log, host, journal = pair(70)
    seq = add(board, log, LONG)
    packets = packets_of(board, 500)
    host.receive(packets[0], 500)
    host.receive(pdu(FRAG, STREAM, seq, 10, b"forged"), 500)
    assert host.endpoint.counters["fragment_differs"] == 1
    for e2e in packets:
        host.receive(e2e, 500)
    for total in (5, 100):  # a whole record of its own, but without a MAC that holds
        host.receive(pdu(FRAG0, STREAM, seq + 1, total, bytes(total)), 500)
    host.commit(500)
    assert journal.records == {(STREAM, seq): log.created[seq]}


def test_parts_that_make_no_record_change_nothing():
    board, log, host, journal = pair(70)
    for content in (b"\x92\x12\x00", b"\x95\x14\x01\x05\xc4\x00", b"\xff" * 30, b"\x00\x00\x00\x00\x00"):
        host.receive(pdu(FRAG0, STREAM, 9, len(content), content), 500)
    host.commit(500)
    assert journal.records == {} and host.waiting == []


def test_an_assembly_is_bounded():
    assembly = Assembly()
    for seq in range(1, 50):
        assert assembly.add(seq, 0, 10, b"x" * 20, seq) is None
        assert len(assembly) <= PARTIAL_MAX
    for total, offset, part in ((BYTES_MAX + 1, 0, b"x"), (0, BYTES_MAX, b"x"), (0, 0, b"")):
        try:
            assembly.add(99, total, offset, part, 0)
            assert False
        except ValueError as error:
            assert error.args[0] == "fragment_limit"
    assert assembly.add(49, 31, 0, b"y" * 10, 50) is None
    assert assembly.missing(49) == [30, 1] or assembly.missing(49) == []
    assert assembly.add(49, 0, 30, b"z", 50) == b"y" * 10 + b"x" * 20 + b"z"


def test_a_stale_partial_makes_way():
    assembly = Assembly()
    assembly.add(1, 0, 10, b"x", 0)
    assembly.add(2, 0, 10, b"x", 700000)
    assert len(assembly) == 1


def test_a_cut_in_the_middle_of_the_parts_begins_anew():
    board, log, host, journal = pair(70)
    seq = add(board, log, LONG)
    host.receive(board.next_pdu(500), 500)
    board.link_down(501)
    board.link_up(502, 70, NONCE + 1)
    exchange(board, host, 502)
    assert journal.records == {(STREAM, seq): log.created[seq]}


def test_a_part_of_what_is_stored_is_a_duplicate():
    board, log, host, journal = pair(70)
    add(board, log, LONG)
    packets = packets_of(board, 500)
    for e2e in packets:
        host.receive(e2e, 500)
    exchange(board, host, 501)
    host.receive(packets[0], 2000)
    assert host.endpoint.counters["duplicate"] == 1
    assert len(packets_of(host.endpoint, 2000)) == 1  # an ACK


def test_a_hello_for_a_narrow_link_names_as_many_schemas_as_it_has_room_for():
    log = MemoryLog()
    board = SharedEndpoint("stove-1", STREAM, PSK, log)
    board.schemas.extend([[sid, b"abcd"] for sid in range(1, 40)])
    for mtu in (64, 115, 222, 1024):
        board.link_up(0, mtu, NONCE)
        assert len(board.next_pdu(0)) <= mtu
        board.link_down(0)
