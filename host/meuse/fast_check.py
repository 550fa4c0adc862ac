"""Is a PDU well formed and within the limits: the protocol's own check, in C where it matters.

A typed decoder of msgspec holds the same limits (depth, items, no extension types) for everything
without text, which is nearly all that boards send. The rest goes to the protocol's check, which says
exactly why.
"""

from typing import Annotated

import msgspec
from meuse_protocol import columns_decode
from meuse_protocol.msgpack import MAX_DEPTH, MAX_ITEMS

# The types below are written out for this depth: PDU > columns > column > run.
assert MAX_DEPTH == 4

# Text and bytes in one union are more than msgspec allows.
_Scalar = None | bool | int | float | bytes
_Bound = msgspec.Meta(max_length=MAX_ITEMS)
_Run = Annotated[list[_Scalar], _Bound]
_Column = Annotated[list[_Scalar | _Run], _Bound]
_Columns = Annotated[list[_Scalar | _Column], _Bound]
_Pdu = Annotated[list[_Scalar | _Columns], _Bound]

_decode = msgspec.msgpack.Decoder(_Pdu).decode


def check(pdu: bytes) -> int:
    """Where the PDU's array ends; raises PacketError or LimitError as `columns_decode.check` does."""
    try:
        fields = _decode(pdu)
    except msgspec.MsgspecError:
        return columns_decode.check(pdu)
    if fields:
        columns_decode.check_limits(fields)
    return len(pdu)
