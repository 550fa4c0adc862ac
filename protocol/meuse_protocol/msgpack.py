"""The part of msgpack the wire uses: nil, bool, int, float, str, bin, array, map with str keys.

Owns sizes and nesting: every length is checked against the limits and against the bytes that are
really there before anything is allocated for it. Knows nothing of messages.
"""

from struct import pack as _pack
from struct import unpack as _unpack

from .errors import LimitError, LocalError, PacketError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

MAX_DEPTH = 4  # PDU > columns > list column > [run]; nothing in the protocol is deeper
MAX_ITEMS = 1024  # elements of one array: the most rows a batch may have

# Bytes that follow the codes c0 to df as length or number; 9 marks what the wire does not use.
_SIZES = b"\0\x09\0\0\1\2\4\x09\x09\x09\4\x08\1\2\4\x08\1\2\4\x08\x09\x09\x09\x09\x09\1\2\4\2\4\2\4"


def pack(x: object) -> bytes:
    """The shortest encoding of `x`; a float takes 9 bytes. LocalError where there is none."""
    out = bytearray()
    put(out, x)
    return bytes(out)


def put(out: bytearray, x: object) -> None:
    """Appends the encoding of `x` to `out`."""
    if x is None:
        out.append(0xC0)
    elif isinstance(x, bool):  # before int: True is an int on CPython and is not on MicroPython
        out.append(0xC3 if x else 0xC2)
    elif isinstance(x, int):
        if -33 < x < 128:
            out.append(x & 0xFF)
        else:
            _number(out, 0xCC if x >= 0 else 0xD0, x if x >= 0 else ~x << 1, x)
    elif isinstance(x, (list, tuple)):
        _head(out, len(x), 0x90, 15, 0xDB)
        for item in x:
            put(out, item)
    elif isinstance(x, float):
        out += b"\xcb" + _pack(">d", x)
    else:
        if isinstance(x, str):
            x = x.encode()
            _head(out, len(x), 0xA0, 31, 0xD9)
        elif isinstance(x, (bytes, bytearray)):
            _head(out, len(x), 0xC4, -1, 0xC4)
        else:
            raise LocalError("type")
        out += x


def _head(out: bytearray, n: int, fix: int, most: int, code: int) -> None:
    if n <= most:
        out.append(fix | n)
    else:
        _number(out, code, n if code != 0xDB else n | 256, n)


def _number(out: bytearray, code: int, magnitude: int, x: int) -> None:
    """`x` in as many bytes (1, 2, 4, 8) as its magnitude needs; the code grows by one with each."""
    size = 1
    while magnitude >> 8 * size:
        size *= 2
        code += 1
    if size > 8:
        raise LocalError("int")
    out.append(code)
    out += (x & (1 << 8 * size) - 1).to_bytes(size, "big")


def unpack(b: bytes, depth: int = MAX_DEPTH) -> "Any":
    """The one object `b` holds, nested `depth` deep at most.

    PacketError if it is not exactly one object, LimitError if it is beyond the limits.
    """
    x, end = get(b, 0, depth)
    if end != len(b):
        raise PacketError("trailing bytes")
    return x


def scan(b: bytes, at: int = 0) -> int:
    """Where the object that starts at `at` ends; raises as `unpack` does."""
    return get(b, at, MAX_DEPTH)[1]


def get(b: bytes, at: int, depth: int) -> "tuple[Any, int]":
    """(the object that starts at `at`, where it ends)"""
    c = b[at] if at < len(b) else 0xC1
    at += 1
    if c < 0x80:
        return c, at
    if c >= 0xE0:
        return c - 256, at
    n = c & (31 if c >= 0xA0 else 15)
    if c >= 0xC0:
        size = _SIZES[n]
        if size > 8:
            if c == 0xC1:
                raise PacketError("truncated")
            raise LimitError("ext")
        start = at
        at += size
        n = int.from_bytes(b[start:at], "big")
        if at > len(b):
            raise PacketError("truncated")
        if c < 0xC4:
            return (None, 0, False, True)[c & 3], at
        if 0xCC <= c < 0xD4:
            return (n - (1 << 8 * size) if c >= 0xD0 and n >> 8 * size - 1 else n), at
        if c == 0xCA or c == 0xCB:
            return _unpack(">f" if c == 0xCA else ">d", b[start:at])[0], at
    if c < 0xA0 or c >= 0xDC:
        return _get_items(b, at, n, depth, c < 0x90 or c >= 0xDE)
    end = at + n
    if end > len(b):
        raise PacketError("truncated")
    if 0xC4 <= c < 0xC7:
        return b[at:end], end
    try:
        return str(b[at:end], "utf-8"), end
    except ValueError:
        raise PacketError("text")


def _get_items(b: bytes, at: int, n: int, depth: int, is_map: bool) -> "tuple[Any, int]":
    if not depth or n > MAX_ITEMS:
        raise LimitError("array")
    # Nothing is reserved for n: the list grows with the bytes that are there.
    out: Any = {} if is_map else []
    for _ in range(n):
        if is_map:
            key, at = get(b, at, depth - 1)
            if not isinstance(key, str):
                raise LimitError("key")
            out[key], at = get(b, at, depth - 1)
        else:
            x, at = get(b, at, depth - 1)
            out.append(x)
    return out, at
