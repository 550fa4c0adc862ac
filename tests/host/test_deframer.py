"""The short way through the deframer gives what the protocol's own gives, whatever comes in whatever pieces."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from meuse.deframer import FastDeframer
from meuse_protocol.framing import Deframer, frame

PIECES = st.one_of(
    st.binary(min_size=3, max_size=60).map(lambda body: b"\x93" + body).map(frame),
    st.binary(max_size=300).map(lambda body: b"\x93\x01\x00" + body).map(frame),
    st.sampled_from([b"\0", b"\0\0", b"\r\n", b"\n", b"boot: text\r\n", b"x\n", b"\xff", b"ab\xff\n", frame(b"")]),
    st.binary(max_size=20),
    st.tuples(st.integers(0, 500), st.sampled_from([b"\n", b"\r", b"\0"])).map(lambda text: b"t" * text[0] + text[1]),
)


def items(deframer: Deframer, data: bytes, cuts: list[int]) -> list[object]:
    found = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        deframer.feed(data[begin:end])
        while (item := deframer.next()) is not None:
            found.append(item)
    return [*found, deframer.frames, deframer.lines, deframer.damaged, bytes(deframer.pending)]


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 2000), max_size=5), st.integers(20, 400))
def test_the_same_items_for_the_same_bytes(pieces: list[bytes], cuts: list[int], longest: int) -> None:
    data = b"".join(pieces)
    expected = items(Deframer(longest), data, cuts)
    assert items(FastDeframer(longest), data, cuts) == expected
    assert items(FastDeframer(longest), data, [*range(len(data))]) == expected
