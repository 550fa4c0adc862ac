"""The PDU: one msgpack array `[type, stream, seq or first element, ...]`, and its constants.

A record R is the PDU with its stream element left out: what logs and journals store and what the
MAC covers. `splice` puts a stream back in without encoding anything again. Knows no state, no key.
"""

from collections import namedtuple

from .errors import ContentError, LocalError, PacketError
from .msgpack import pack, put, unpack

VERSION = 0x10  # major * 16 + minor

# Records, 1 to 15: always [type, stream, seq, ...]; stored and acknowledged even if unknown.
DATA = 1
SINGLE = 2
SCHEMA = 3
BLOB = 4
BOOT = 5
ANCHOR = 6
RESULT = 7
GAP = 8
SEALED = 9
# Control, board to host.
HELLO = 16
TIMEQ = 17
PING = 18
FRAG = 19
FRAG0 = 20
# Control, host to board.
ACK = 32
WELCOME = 33
CMD = 34
TIME = 35
NEED = 36
POLL = 37
ERR = 39

NEED_SCHEMA = 0
NEED_HELLO = 1
NEED_FRAGMENTS = 2
NEED_ANCHOR = 3

ERR_VERSION = 1  # no common major version
ERR_PACKET = 2  # not a PDU
ERR_LIMIT = 3  # beyond the limits
ERR_CONTENT = 4  # elements that make no sense
ERR_CONFLICT = 5  # same stream and seq, other bytes
ERR_DEVICE = 6  # this host does not know the device, or not with this key

GAP_LOG_FULL = 1  # the oldest records were dropped
GAP_POWER_CUT = 2  # numbers reserved, never flushed
GAP_CORRUPT = 3  # unreadable flash
GAP_QUARANTINE = 4  # refused too often, set aside
GAP_STREAM_CLOSED = 5  # written by the host: tail of a closed stream, unknown
GAP_UNANNOUNCED = 6  # written by the host: the board no longer has them and never said why
GAP_WIPED = 7  # the log was erased

# What the elements after `stream` (control) or `seq` (records) must be. Lower case: must be there,
# upper case: may be nil or absent. u: 0 to 2^32-1, i: any int, s: str, b: bin, a: array, x: anything.
_SHAPES = {
    DATA: "uuixaAB",
    SINGLE: "ui",
    SCHEMA: "usuaA",
    BLOB: "uXb",
    BOOT: "uus",
    ANCHOR: "iiuu",
    RESULT: "uuX",
    GAP: "uuu",
    SEALED: "b",
    HELLO: "uuuuuusau",
    TIMEQ: "u",
    FRAG: "uub",
    FRAG0: "uub",
    ACK: "uUX",
    WELCOME: "uuuuuu",
    CMD: "uasX",
    TIME: "uiu",
    NEED: "uA",
    POLL: "uu",
    ERR: "uS",
}
_KINDS = {"i": int, "s": str, "b": bytes, "a": list}

Pdu = namedtuple("Pdu", ("type", "stream", "seq", "fields", "record", "mac"))


def record(kind: int, *body) -> bytes:
    """R of a PDU of type `kind`; for a record the first of `body` is its seq."""
    n = len(body) + 2
    out = bytearray((0x90 | n, kind)) if n < 16 else bytearray((0xDC, n >> 8, n & 255, kind))
    for x in body:
        put(out, x)
    return bytes(out)


def splice(record: bytes, stream: int) -> bytes:
    """The PDU: `record` with its stream. 0: bound by HELLO, 1-127: alias, from 2^31: full id."""
    if not (0 <= stream < 128 or 1 << 31 <= stream < 1 << 32):
        raise LocalError("stream")
    at = 2 if record[0] < 0xA0 else 4
    return record[:at] + pack(stream) + record[at:]


def pdu(kind: int, stream: int, *body) -> bytes:
    return splice(record(kind, *body), stream)


def is_record(kind: int) -> bool:
    return 0 < kind < 16


def _open(b):
    """(type, stream, where R goes on after type, where the PDU goes on after stream)"""
    try:
        at = 2 if 0x91 < b[0] < 0xA0 else 4 if b[0] == 0xDC else 0
        kind = b[at - 1]
        stream = b[at]
        if not at or kind > 127:
            raise PacketError("not a PDU")
        if stream < 128:
            return kind, stream, at, at + 1
        if stream == 0xCE and b[at + 1] > 127:
            return kind, int.from_bytes(b[at + 1 : at + 5], "big"), at, at + 5
    except IndexError:
        pass
    raise PacketError("stream")


def head(e2e: bytes):
    """(type, stream, seq), without looking at the rest; seq is None for a control message."""
    kind, stream, _, pos = _open(e2e)
    if not is_record(kind):
        return kind, stream, None
    try:
        c = e2e[pos]
    except IndexError:
        raise PacketError("seq")
    if c > 127:
        size = (1, 2, 4)[c - 0xCC] if 0xCC <= c < 0xCF else 0
        c = int.from_bytes(e2e[pos + 1 : pos + 1 + size], "big")
    if not c:
        raise PacketError("seq")
    return kind, stream, c


def parse(e2e: bytes, mac_bytes: int = 0, unpack=unpack) -> Pdu:
    """Opens a PDU followed by `mac_bytes` of MAC, which is cut off and not checked here.

    Pdu.seq is the element after stream (None if there is none); Pdu.fields is the whole array.
    The elements of a control message are checked and padded with None; those of a record are not,
    because a record is stored whatever it holds: see `check`. `unpack` may be a faster one that
    enforces the same limits.
    """
    end = len(e2e) - mac_bytes
    b = e2e[:end]
    kind, stream, at, pos = _open(b)
    fields = unpack(b)
    seq = fields[2] if len(fields) > 2 else None
    if not is_record(kind):
        check(fields)
    elif not _is("u", seq) or not seq:
        raise PacketError("seq")
    return Pdu(kind, stream, seq, fields, b[:at] + b[pos:], e2e[end:])


def check(fields: list) -> None:
    """ContentError unless the elements of a known type are what the specification says.

    Missing trailing elements are appended as None; extra ones and unknown types are let through.
    """
    shape = _SHAPES.get(fields[0], "")
    start = 3 if is_record(fields[0]) else 2
    missing = start + len(shape) - len(fields)
    if missing > 0:
        fields.extend([None] * missing)
    for i, letter in enumerate(shape):
        x = fields[start + i]
        kind = letter.lower()
        if not _is(kind, x) and (kind == letter or x is not None):
            raise ContentError("element %d" % (start + i))


def _is(kind, x):
    if kind == "x":
        return True
    if kind == "u":
        return _is("i", x) and 0 <= x < 1 << 32
    return isinstance(x, _KINDS[kind]) and not isinstance(x, bool)
