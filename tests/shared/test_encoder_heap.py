"""A board has little heap: 60 rows of 8 channels become a frame within 10 kB of it."""

import gc

from meuse_protocol import columns, framing, messages
from vector_lines import Dice

LIMIT_BYTES = 10 * 1024


def readings():
    dice = Dice(4)
    times = [1761955200 + 10 * i + (i == 17) for i in range(60)]
    spread = (3, 5, 1, 40, 7, 2, 1, 9)
    rows = [[500 * c + i * (c % 3) + dice.below(spread[c]) for c in range(8)] for i in range(60)]
    return times, rows


def frame_of(times, rows):
    body = columns.encode(1, times, rows)
    assert sum([type(column) is int for column in body[5]]) >= 6  # most columns are packed
    return framing.frame(messages.pdu(messages.DATA, 0, 1000, *body))


def test_a_batch_is_encoded_within_its_heap():
    times, rows = readings()
    wire = frame_of(times, rows)
    assert len(wire) < 300
    if not hasattr(gc, "mem_alloc"):
        return  # CPython counts otherwise
    gc.collect()
    gc.disable()  # so that everything ever allocated is counted, garbage too
    before = gc.mem_alloc()
    frame_of(times, rows)
    used = gc.mem_alloc() - before
    gc.enable()
    print("60 rows x 8 channels, packed, CRC and COBS:", used, "bytes")
    assert used <= LIMIT_BYTES
