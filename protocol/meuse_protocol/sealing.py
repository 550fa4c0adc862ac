"""Records that nobody between board and host can read: AES-256 in counter mode under the MAC.

The cipher is handed in, since a board has it in C (cryptolib) and a host in a library: `ecb` turns
blocks of 16 bytes into as many encrypted ones. The counter block is stream | seq | block number, so
no two records ever share one: a seq is used once, and a record's bytes never change.
"""

from .auth import hmac, prepare
from .errors import ContentError, LocalError
from .messages import SEALED, is_record, record
from .msgpack import get, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Aes, Callable, Ecb

BLOCK_BYTES = 16


def seal_key(psk: bytes, stream: int) -> bytes:
    """The 32 bytes of the key for one stream's records."""
    return hmac(prepare(psk), b"p1 enc" + stream.to_bytes(4, "big"))


def seal(ecb: "Ecb", stream: int, plain: bytes) -> bytes:
    """R of a SEALED record with the same seq: `plain` is R, of which seq alone stays readable."""
    at = _body_at(plain)
    seq, end = get(plain, at, 0)
    return record(SEALED, seq, _crypt(ecb, stream, seq, plain[:at] + plain[end:]))


def unseal(ecb: "Ecb", stream: int, sealed: bytes) -> bytes:
    """The R that seal() was given; ContentError, or another RemoteError, when it is none."""
    seq, at = get(sealed, _body_at(sealed), 0)
    hidden, _ = get(sealed, at, 0)
    if type(hidden) is not bytes:
        raise ContentError("sealed")
    plain = _crypt(ecb, stream, seq, hidden)
    at = _body_at(plain)
    kind = plain[at - 1]
    if not is_record(kind) or kind == SEALED:
        raise ContentError("sealed")
    return plain[:at] + pack(seq) + plain[at:]


def _body_at(r: bytes) -> int:
    """Where R goes on behind its type."""
    at = 4 if r[:1] == b"\xdc" else 2
    if len(r) < at:
        raise ContentError("sealed")
    return at


def _crypt(ecb: "Ecb", stream: int, seq: int, data: bytes) -> bytes:
    """Counter mode is its own inverse."""
    head = stream.to_bytes(4, "big") + seq.to_bytes(4, "big")
    blocks = bytearray()
    for number in range(-(-len(data) // BLOCK_BYTES)):
        blocks += head + number.to_bytes(8, "big")
    out = bytearray(data)
    pad = ecb(bytes(blocks)) if blocks else b""
    for i in range(len(out)):
        out[i] ^= pad[i]
    return bytes(out)


def hiding(psk: "bytes | None", stream: int, aes: "Aes") -> "Callable[[bytes], bytes]":
    """What makes SEALED records of the stream's; LocalError without a key."""
    if not psk:
        raise LocalError("sealed without a key")
    ecb = aes(seal_key(psk, stream))
    return lambda body: seal(ecb, stream, body)
