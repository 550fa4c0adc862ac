"""Is a PDU well formed and within the limits: the protocol's own check, in C where it matters.

msgspec opens the bytes (never allocating more than they justify); what is left to look at is depth
and length. Whatever it refuses, or looks unusual, goes to `scan`, which says exactly why.
"""

import msgspec
from meuse_protocol.msgpack import MAX_DEPTH, MAX_ITEMS, scan

_decode = msgspec.msgpack.Decoder().decode
_PLAIN = {type(None), bool, int, float, str, bytes}
_PLAIN_OR_LIST = _PLAIN | {list}


def check(pdu: bytes) -> int:
    """Where the PDU's array ends; raises PacketError or LimitError as `scan` does."""
    try:
        fields = _decode(pdu)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return scan(pdu)
    if type(fields) is list and _plain(fields, MAX_DEPTH):
        return len(pdu)
    return scan(pdu)


def _plain(items: list[object], depth: int) -> bool:
    """Nothing but scalars and lists, within the limits."""
    if not depth or len(items) > MAX_ITEMS:
        return False
    kinds = set(map(type, items))
    if kinds <= _PLAIN:
        return True
    if not kinds <= _PLAIN_OR_LIST:
        return False
    return all(_plain(item, depth - 1) for item in items if isinstance(item, list))
