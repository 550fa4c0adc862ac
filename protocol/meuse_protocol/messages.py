"""The PDU: one msgpack array `[type, stream, seq or first element, ...]`, and its constants.

A record R is the PDU with its stream element left out: what logs and journals store and what the
MAC covers. `splice` puts a stream back in without encoding anything again. Knows no state, no key.
"""

from collections import namedtuple

from .errors import ContentError, LimitError, LocalError, PacketError
from .msgpack import get, put, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

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

RELAYS = 1  # feature of HELLO: over this link come other boards' streams, too

NEED_SCHEMA = 0
NEED_HELLO = 1
NEED_FRAGMENTS = 2
NEED_ANCHOR = 3

ERR_VERSION = 1  # no common major version
ERR_PACKET = 2  # not a PDU
ERR_LIMIT = 3  # beyond the limits
ERR_CONTENT = 4  # elements that make no sense
ERR_CONFLICT = 5  # same stream and seq, other bytes
ERR_DEVICE = 6  # this device may not speak here: unknown, or its key does not fit

GAP_LOG_FULL = 1  # the oldest records were dropped
GAP_POWER_CUT = 2  # numbers reserved, never flushed
GAP_CORRUPT = 3  # unreadable flash
GAP_QUARANTINE = 4  # refused too often, set aside
GAP_STREAM_CLOSED = 5  # written by the host: tail of a closed stream, unknown
GAP_UNANNOUNCED = 6  # written by the host: the board no longer has them and never said why
GAP_WIPED = 7  # the log was erased

# What the elements after `stream` (control) or `seq` (records) must be. Lower case: must be there;
# upper case: may be nil or absent. u: 0 to 2^32-1, i: any int, s: str, b: bin, a: array, x: any.
# One text, since a dict of them would cost every board 400 bytes: type in two digits, then a letter each.
_SHAPES = (
    "01uuixaAB 02ui 03usuaA 04uXb 05uus 06iiuu 07uuX 08uuu 09b 16uuuuuusau 17u 19uub 20uub "
    "32uUX 33uuuuuu 34uasX 35uiu 36uA 37uu 39uSU "
)
_LETTERS = "uisba"
_KINDS: "tuple[Any, ...]" = (int, int, str, bytes, list)

Pdu = namedtuple("Pdu", ("type", "stream", "seq", "fields", "record", "mac"))


def record(kind: int, *body: object) -> bytes:
    """R of a PDU of type `kind`; for a record the first of `body` is its seq."""
    n = len(body) + 2
    out = bytearray((0x90 | n, kind) if n < 16 else (0xDC, n >> 8, n & 255, kind))
    for x in body:
        put(out, x)
    return bytes(out)


def splice(record: bytes, stream: int) -> bytes:
    """The PDU: `record` with its stream. 0: bound by HELLO, 1-127: alias, from 2^31: full id."""
    if not (0 <= stream < 128 or 1 << 31 <= stream < 1 << 32):
        raise LocalError("stream")
    at = 2 if record[0] < 0xA0 else 4
    out = bytearray(record[:at])
    put(out, stream)
    return bytes(out + record[at:])


def pdu(kind: int, stream: int, *body: object) -> bytes:
    return splice(record(kind, *body), stream)


def is_record(kind: int) -> bool:
    return 0 < kind < 16


def head(e2e: bytes) -> "tuple[int, int, int | None]":
    """(type, stream, seq), without looking at the rest; seq is None for a control message."""
    kind, stream, _, at = _open(e2e)
    if not is_record(kind):
        return kind, stream, None
    try:
        seq = get(e2e, at, 0)[0]
    except LimitError:  # an array
        seq = None
    if type(seq) is not int or not 0 < seq < 1 << 32:
        raise PacketError("seq")
    return kind, stream, seq


def parse(e2e: bytes, mac_bytes: int = 0, unpack: "Any" = unpack) -> Pdu:
    """Opens a PDU followed by `mac_bytes` of MAC, which is cut off and not checked here.

    Pdu.seq is the element after stream (None if there is none); Pdu.fields is the whole array.
    The elements of a control message are checked and padded with None; those of a record are not,
    because a record is stored whatever it holds: see `check`. `unpack` may be a faster one that
    enforces the same limits.
    """
    end = len(e2e) - mac_bytes
    b = e2e[:end]
    kind, stream, at, after = _open(b)
    fields = unpack(b)
    seq = fields[2] if len(fields) > 2 else None
    if not is_record(kind):
        check(fields)
    elif not _fits(seq, "u") or not seq:
        raise PacketError("seq")
    return Pdu(kind, stream, seq, fields, b[:at] + b[after:], e2e[end:])


def check(fields: "list[Any]") -> None:
    """ContentError unless the elements of a known type are what the specification says.

    Missing trailing elements are appended as None; extra ones and unknown types are let through.
    """
    at = 3 if is_record(fields[0]) else 2
    for letter in _shape(fields[0]):
        if at == len(fields):
            fields.append(None)
        if not _fits(fields[at], letter):
            raise ContentError("element %d" % at)
        at += 1


def _shape(kind: int) -> str:
    """Letters of the elements of a type, "" of an unknown one."""
    begin = _SHAPES.find("%02d" % kind)
    return _SHAPES[begin + 2 : _SHAPES.find(" ", begin)] if begin >= 0 else ""


def _fits(x: "Any", letter: str) -> bool:
    if x is None and letter < "a":
        return True
    letter = letter.lower()
    if letter == "x":
        return True
    # Not isinstance: True is an int on CPython, and no number here may be a bool.
    return type(x) is _KINDS[_LETTERS.find(letter)] and (letter != "u" or 0 <= x < 1 << 32)


def _open(b: bytes) -> "tuple[int, int, int, int]":
    """(type, stream, where R goes on after type, where the PDU goes on after stream)"""
    at = 0
    if len(b) > 2:
        at = 2 if 0x91 < b[0] < 0xA0 else 4 if b[0] == 0xDC and len(b) > 4 else 0
    if not at or b[at - 1] > 127:
        raise PacketError("header")
    stream = b[at]
    end = at + 1
    if stream > 127:
        end = at + 5
        if stream != 0xCE or len(b) < end or b[at + 1] < 128:
            raise PacketError("stream")
        stream = int.from_bytes(b[at + 1 : end], "big")
    return b[at - 1], stream, at, end
