"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): bytes without a zero, and back."""

from .errors import FrameError


def encode(data: bytes) -> bytes:
    """`data` without any zero byte, at most 1 + len / 254 bytes longer. The delimiter is not added."""
    out = bytearray(len(data) + len(data) // 254 + 1)
    at = 0
    blocks = data.split(b"\0")
    last = len(blocks) - 1
    for i, block in enumerate(blocks):
        # A full block (code ff) stands for no zero, so in front of a zero one byte less fits.
        full = 254 if i == last else 253
        while len(block) > full:
            out[at] = 255
            out[at + 1 : at + 255] = block[:254]
            at += 255
            block = block[254:]
        end = at + 1 + len(block)
        out[at] = end - at
        out[at + 1 : end] = block
        at = end
    return bytes(memoryview(out)[:at])


def decode(data: bytes) -> bytes:
    """The bytes that were encoded, never more than came in. FrameError on a zero or a short block."""
    out = bytearray()
    pos = 0
    end = len(data)
    while pos < end:
        code = data[pos]
        block = data[pos + 1 : pos + code]
        pos += code
        if not code or pos > end or b"\0" in block:
            raise FrameError("cobs")
        out += block
        if code < 255 and pos < end:
            out.append(0)
    return bytes(out)
