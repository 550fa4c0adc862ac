"""HMAC-SHA256 (RFC 2104) with prepared keys, keys per direction, and the MAC of a record.

Written on hashlib alone, since a board has no `hmac`. Owns no key and decides nothing.
"""

from hashlib import sha256

UP = b"u"  # board to host
DOWN = b"d"  # host to board


def prepare(key: bytes) -> "tuple[bytes, bytes]":
    """The two 64-byte pads HMAC starts from; made once per key."""
    if len(key) > 64:
        key = sha256(key).digest()
    key += bytes(64 - len(key))
    return bytes(x ^ 0x36 for x in key), bytes(x ^ 0x5C for x in key)


def hmac(pads: "tuple[bytes, bytes]", message: bytes) -> bytes:
    """The 32 bytes of HMAC-SHA256 under the key `prepare` made `pads` of."""
    inner = sha256(pads[0])
    inner.update(message)
    outer = sha256(pads[1])
    outer.update(inner.digest())
    return outer.digest()


def direction_keys(psk: bytes, stream: int) -> "tuple[tuple[bytes, bytes], tuple[bytes, bytes]]":
    """(up, down): prepared keys of one stream. `psk`: the device's 32 secret bytes."""
    pads = prepare(psk)
    tail = stream.to_bytes(4, "big")
    return prepare(hmac(pads, b"p1 up" + tail)), prepare(hmac(pads, b"p1 dn" + tail))


def mac(pads: "tuple[bytes, bytes]", direction: bytes, stream: int, record: bytes, n: int) -> bytes:
    """The first `n` bytes of HMAC(direction | full stream id, big endian | record)."""
    return hmac(pads, direction + stream.to_bytes(4, "big") + record)[:n]


def equal(a: bytes, b: bytes) -> bool:
    """Compares in a time that does not depend on where the first difference is."""
    if len(a) != len(b):
        return False
    different = 0
    for i in range(len(a)):
        different |= a[i] ^ b[i]
    return not different
