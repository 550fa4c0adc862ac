"""The part of msgpack the wire uses: nil, bool, int, float, str, bin, array, map with str keys.

Owns sizes and nesting: every length is checked against the limits and against the bytes that are
really there before anything is allocated for it. Knows nothing of messages.
"""

import struct

from .errors import LimitError, LocalError, PacketError

MAX_DEPTH = 4  # PDU > columns > list column > [run]; nothing in the protocol is deeper
MAX_ITEMS = 1024  # elements of one array: the most rows a batch may have


def pack(obj) -> bytes:
    """The shortest encoding of `obj`; floats take 9 bytes. LocalError where there is none."""
    out = bytearray()
    put(out, obj)
    return bytes(out)


def put(out, x):
    """Appends the encoding of `x` to the bytearray `out`."""
    if x is None:
        out.append(0xC0)
    elif isinstance(x, bool):  # before int: True is an int on CPython and is not on MicroPython
        out.append(0xC3 if x else 0xC2)
    elif isinstance(x, int):
        _put_int(out, x)
    elif isinstance(x, (list, tuple)):
        _put_head(out, len(x), 0x90, 16, 0)
        for item in x:
            put(out, item)
    elif isinstance(x, str):
        x = x.encode()
        _put_head(out, len(x), 0xA0, 32, 0xD9)
        out += x
    elif isinstance(x, (bytes, bytearray)):
        _put_head(out, len(x), 0, 0, 0xC4)
        out += x
    elif isinstance(x, float):
        out.append(0xCB)
        out += struct.pack(">d", x)
    else:
        raise LocalError("cannot pack this type")


def _put_int(out, x):
    if -33 < x < 128:
        out.append(x & 0xFF)
        return
    code, n = (0xCC, x) if x >= 0 else (0xD0, ~x << 1)
    size = 1
    while n >> 8 * size:
        size <<= 1
        code += 1
    if size > 8:
        raise LocalError("int beyond 64 bits")
    out.append(code)
    out += (x & (1 << 8 * size) - 1).to_bytes(size, "big")


def _put_head(out, n, fix, fix_below, code8):
    if n < fix_below:
        out.append(fix | n)
    elif n < 256 and code8:
        out.append(code8)
        out.append(n)
    elif n < 65536:
        out.append(code8 + 1 if code8 else 0xDC)
        out += n.to_bytes(2, "big")
    else:
        raise LocalError("longer than 65,535")


def unpack(buf: bytes, depth: int = MAX_DEPTH, items: int = MAX_ITEMS):
    """The one object `buf` holds. PacketError if it is not exactly one, LimitError beyond limits."""
    obj, end = _get(buf, 0, depth, items)
    if end != len(buf):
        raise PacketError("trailing bytes")
    return obj


def scan(buf: bytes, pos: int = 0) -> int:
    """Where the object that starts at `pos` ends; raises as `unpack` does."""
    return _get(buf, pos, MAX_DEPTH, MAX_ITEMS)[1]


def _get(b, p, depth, items):
    if p >= len(b):
        raise PacketError("truncated")
    c = b[p]
    p += 1
    if c < 0x80:
        return c, p
    if c >= 0xE0:
        return c - 256, p
    if c < 0x90:
        return _get_array(b, p, c & 15, depth, items, True)
    if c < 0xA0:
        return _get_array(b, p, c & 15, depth, items, False)
    if c < 0xC0:
        return _get_text(b, p, p + (c & 31))
    if c < 0xC4:
        if c == 0xC1:
            raise PacketError("byte c1")
        return (None, 0, False, True)[c & 3], p
    if c < 0xC7:
        n, p = _get_uint(b, p, 1 << (c - 0xC4))
        return _cut(b, p, p + n), p + n
    if c < 0xCA or 0xD4 <= c < 0xD9:
        raise LimitError("ext type")
    if c < 0xCC:
        end = p + (4 if c == 0xCA else 8)
        return struct.unpack(">f" if c == 0xCA else ">d", _cut(b, p, end))[0], end
    if c < 0xD4:
        size = 1 << (c & 3)
        n, p = _get_uint(b, p, size)
        if c >= 0xD0 and n >> (8 * size - 1):
            n -= 1 << 8 * size
        return n, p
    if c < 0xDC:
        n, p = _get_uint(b, p, 1 << (c - 0xD9))
        return _get_text(b, p, p + n)
    n, p = _get_uint(b, p, 4 if c & 1 else 2)
    return _get_array(b, p, n, depth, items, c >= 0xDE)


def _cut(b, p, end):
    if end > len(b):
        raise PacketError("truncated")
    return b[p:end]


def _get_uint(b, p, size):
    return int.from_bytes(_cut(b, p, p + size), "big"), p + size


def _get_text(b, p, end):
    try:
        return str(_cut(b, p, end), "utf-8"), end
    except ValueError:
        raise PacketError("not UTF-8")


def _get_array(b, p, n, depth, items, is_map):
    if depth == 0 or n > items:
        raise LimitError("too deep" if depth == 0 else "array too long")
    if n > len(b) - p:
        raise PacketError("truncated")
    out = {} if is_map else []
    for _ in range(n):
        item, p = _get(b, p, depth - 1, items)
        if is_map:
            if not isinstance(item, str):
                raise LimitError("map key not str")
            out[item], p = _get(b, p, depth - 1, items)
        else:
            out.append(item)
    return out, p
