"""Which packets of a host a board believes, and what makes its own believable. Functions: no state.

`keys`: direction_keys of the stream; None where the host trusts the link: then all is believed.
"""

from . import messages
from .auth import DOWN, equal, mac
from .errors import PacketError
from .messages import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

# What opened() says of a packet beside "" (authentic): what may come without a MAC, and the counters.
UNSIGNED = "unsigned"
OTHER_STREAM = "other_stream"
BAD_MAC = "bad_mac"


def opened(
    e2e: bytes, stream: int, short: int, keys: "Any", mac_bytes: int
) -> "tuple[Any, str]":
    """(PDU, verdict): "" if it is authentic, UNSIGNED, or the name of the counter; short: our alias.

    Raises RemoteError for what is no PDU.
    """
    try:
        pdu = parse(e2e, mac_bytes)
    except PacketError:  # perhaps one of the two that may come without a MAC
        pdu = parse(e2e)
    need_hello = pdu.type == messages.NEED and pdu.fields[2] == messages.NEED_HELLO
    harmless = pdu.type == messages.ERR or need_hello
    # Without a MAC "stream 0" may be said of another stream: a log that was wiped since.
    named = pdu.stream == stream or pdu.stream == short
    if not named and (pdu.stream or not (keys or harmless)):
        return pdu, OTHER_STREAM
    if not keys:
        return pdu, ""
    if pdu.mac:
        tag = mac(keys[1], DOWN, stream, pdu.record, mac_bytes)
        return pdu, "" if equal(tag, pdu.mac) else BAD_MAC
    return pdu, UNSIGNED if harmless else BAD_MAC
