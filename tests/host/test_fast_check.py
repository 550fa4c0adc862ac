"""The check in C agrees with the protocol's own, on anything."""

import itertools

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from meuse.fast_check import check
from meuse_protocol import columns_decode
from meuse_protocol.errors import RemoteError
from meuse_protocol.msgpack import MAX_ITEMS

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(SCALARS, inner, max_size=2), max_leaves=12
)


def verdict(judge: "object", data: bytes) -> object:
    """Where the array ends, or what was raised and for which reason."""
    try:
        end = judge(data)  # type: ignore[operator]
    except RemoteError as error:
        return type(error), str(error)
    return end


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, max_size=6))
def test_on_values(values: list[object]) -> None:
    data = msgpack.packb(values, use_bin_type=True)
    assert verdict(check, data) == verdict(columns_decode.check, data)


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, max_size=6), st.data())
def test_on_damaged_values(values: list[object], data: st.DataObject) -> None:
    packed = bytearray(msgpack.packb(values, use_bin_type=True))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    damaged = bytes(packed[: data.draw(st.integers(1, len(packed)))])
    assert verdict(check, damaged) == verdict(columns_decode.check, damaged)


def test_on_the_limits() -> None:
    for items in (MAX_ITEMS, MAX_ITEMS + 1):
        for value in ([0] * items, [[0] * items], [[[0] * items]]):
            data = msgpack.packb(value)
            assert verdict(check, data) == verdict(columns_decode.check, data)
    deep: object = 1
    for _ in range(8):
        deep = [deep]
        data = msgpack.packb(deep)
        assert verdict(check, data) == verdict(columns_decode.check, data)
    huge = b"\xdd\x7f\xff\xff\xff" + b"\0" * 20
    assert verdict(check, huge) == verdict(columns_decode.check, huge)


def test_on_batches_beyond_their_limits() -> None:
    refused = 0
    for n, channels, k in itertools.product((2, 1024, 1025, 2**31), (1, 64, 65), (30, 31)):
        data = msgpack.packb([1, 0, 1, 1, n, 0, 10, [0] * channels, [k], b"\x80"])
        refused += not isinstance(verdict(check, data), int)
        assert verdict(check, data) == verdict(columns_decode.check, data)
    assert refused == 24 - 4
