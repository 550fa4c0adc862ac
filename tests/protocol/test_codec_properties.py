"""Arbitrary objects, batches and damage: the codec against other libraries and the naive decoder."""

import tracemalloc
from typing import Any

import msgpack as other
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from meuse_protocol import cobs, columns, columns_decode, framing, messages, msgpack
from meuse_protocol.errors import RemoteError

from tests.protocol import naive_decoder as naive
from tests.protocol.vector_files import pdus, same

QUICK = settings(max_examples=300, deadline=None)
INT64 = st.integers(-(2**63), 2**64 - 1)
REALS = st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | INT64 | REALS | st.text(max_size=300) | st.binary(max_size=300)
OBJECTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20), max_leaves=40)

SMALL = st.integers(-40, 40)
VALUES = SMALL | st.integers(-(2**62), 2**62 - 1)
QUALITIES = st.integers(1, 127).map(lambda q: [-q])
SHORT = st.text(max_size=9) | st.binary(max_size=9)
MIXED = SMALL | st.none() | QUALITIES | REALS | SHORT | st.booleans()


def depth(x: Any) -> int:
    return 1 + max(map(depth, x), default=0) if isinstance(x, list) else 0


@QUICK
@given(OBJECTS)
@example([None] * 1024)
@example("\u20ac" * 10)
def test_pack_and_unpack_agree_with_msgpack(x: Any) -> None:
    data = msgpack.pack(x)
    assert data == other.packb(x)
    assert msgpack.scan(data + b"\x00") == len(data) if depth(x) <= 4 else True
    assert same(msgpack.unpack(data, depth(x)), x)


@QUICK
@given(st.binary(max_size=60))
def test_unpack_takes_what_msgpack_takes_and_never_more(data: bytes) -> None:
    """Within the limits; beyond them it refuses what msgpack would take."""
    try:
        mine = msgpack.unpack(data)
    except RemoteError:
        return
    assert repr(mine) == repr(other.unpackb(data))  # repr: NaN equals itself


@QUICK
@given(st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"a" * 253, b"a" * 254, b"a" * 255])).map(b"".join))
def test_cobs_round_trip(data: bytes) -> None:
    encoded = cobs.encode(data)
    assert b"\0" not in encoded and len(encoded) <= len(data) + 1 + len(data) // 254
    assert cobs.decode(encoded) == data == naive.open_cobs(encoded)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[list[Any]], int | None]:
    n = draw(st.integers(1, 40) | st.just(60))
    kinds = draw(st.lists(st.sampled_from([SMALL, VALUES, MIXED, st.just(7)]), min_size=1, max_size=6))
    rows = [[draw(kind) for kind in kinds] for _ in range(n)]
    start, boot_no = draw(st.integers(0, 2**41)), draw(st.none() | st.integers(0, 2**32 - 1))
    steps = draw(st.lists(st.sampled_from([10, 10, 10, 10, 9, 11, 0, 4000]), min_size=n, max_size=n))
    return [start + sum(steps[:i]) for i in range(n)], rows, boot_no


@QUICK
@given(batches())
def test_batches_come_back_whole_and_as_the_naive_decoder_reads_them(batch: tuple[Any, ...]) -> None:
    times, rows, boot_no = batch
    pdu = messages.pdu(messages.DATA, 0, 1, *columns.encode(1, times, rows, boot_no))
    fields = messages.parse(pdu).fields
    found_times, found = columns_decode.decode(fields, len(rows[0]))
    assert found_times == times and columns_decode.boot_no(fields) == boot_no
    assert same([list(row) for row in zip(*found, strict=True)], rows)
    slow = naive.rows_of(naive.open_packet(pdu)[0])
    assert slow[0] == times and slow[2] == boot_no and same(slow[1], found)


@QUICK
@given(st.integers(0, 30), st.lists(st.integers(0, 19), min_size=1, max_size=30), st.randoms())
def test_packed_columns_of_any_k_as_the_naive_decoder_reads_them(k: int, quotients: list[int], dice: Any) -> None:
    bits = "".join("01"[dice.getrandbits(1)] for _ in range(k * len(quotients)))
    bits += "".join("0" * q + "1" for q in quotients)
    bits += "0" * (-len(bits) % 8)
    block = int(bits, 2).to_bytes(len(bits) // 8, "big")
    fields = [1, 0, 1, 1, len(quotients) + 1, 0, 1, [5], [k], block]
    assert columns_decode.decode(fields).columns == naive.rows_of(fields)[1]


PDUS = [bytes.fromhex(vector["pdu"]) for vector in pdus() if len(vector["pdu"]) < 1000]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(PDUS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        piece = draw(st.binary(max_size=3))
        data[at : at + draw(st.integers(0, 3))] = piece
        if not data:
            return b""
    return bytes(data)


@settings(max_examples=1500, deadline=None)
@given(mutated() | st.binary(max_size=200))
def test_damage_raises_only_remote_errors_and_allocates_little(data: bytes) -> None:
    tracemalloc.start()
    try:
        messages.head(data)
        fields = messages.parse(data).fields
        if fields[0] in (messages.DATA, messages.SINGLE):
            columns_decode.decode(fields)
    except RemoteError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Many rows of many channels are legal: a few bytes say 1,024 rows of 8 constants.
    rows = fields[4] * len(fields[7]) if peak > 64 * 1024 else 0
    assert peak < 64 * 1024 + 80 * rows


@pytest.mark.parametrize("n", [1025, 2**31, 2**63])
def test_rows_that_are_not_there_cost_nothing(n: int) -> None:
    pdu = messages.pdu(messages.DATA, 0, 1, 1, n, 0, 1, [5])
    tracemalloc.start()
    fields = messages.parse(pdu).fields
    with pytest.raises(RemoteError):
        columns_decode.decode(fields)
    assert tracemalloc.get_traced_memory()[1] < 16 * 1024
    tracemalloc.stop()


def test_every_flipped_bit_of_every_vector_is_found_by_the_crc() -> None:
    for vector in pdus():
        wire = bytearray.fromhex(vector["wire"])
        deframer = framing.Deframer(5000)
        for bit in range(8 * len(wire)):
            wire[bit >> 3] ^= 1 << (bit & 7)
            deframer.feed(bytes(wire) + b"\0")
            while item := deframer.next():
                assert item[0] != framing.FRAME, (vector["name"], bit)
            wire[bit >> 3] ^= 1 << (bit & 7)


def test_every_flipped_bit_of_every_vector_is_found_by_the_mac() -> None:
    for vector in pdus():
        if vector["key"] is None:
            continue
        e2e, key = bytearray.fromhex(vector["e2e"]), bytes.fromhex(vector["key"])
        tag = len(e2e) - len(vector["pdu"]) // 2
        for bit in range(8 * len(e2e)):
            e2e[bit >> 3] ^= 1 << (bit & 7)
            assert not _authentic(bytes(e2e), vector, key, tag), (vector["name"], bit)
            e2e[bit >> 3] ^= 1 << (bit & 7)
        assert _authentic(bytes(e2e), vector, key, tag)


def _authentic(e2e: bytes, vector: dict[str, Any], key: bytes, tag: int) -> bool:
    """Whether a receiver that knows this one stream under this one name takes the packet."""
    try:
        kind, stream, _ = messages.head(e2e[:-tag])
        if stream != vector["object"][1]:
            return False
        pdu = messages.parse(e2e, tag)
    except RemoteError:
        return False
    return naive.mac_of(key, kind, vector["stream"], pdu.record).startswith(pdu.mac)
