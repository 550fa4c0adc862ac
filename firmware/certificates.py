"""Certificates and keys as boards take them: DER, which is what PEM files hold between two lines.

Refuses to know what a certificate says: the board's TLS decides about that.
"""

import binascii
import re

BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
MOST_BYTES = 4096  # the heap of a board holds it twice at boot
SEQUENCE = 0x30  # the first byte of either, X.690 section 8.9


def der(content: bytes, key: bool) -> bytes:
    """The first certificate (or key, where `key`) of a PEM or DER file. ValueError says what the file is instead."""
    wanted = b"PRIVATE KEY" if key else b"CERTIFICATE"
    kinds = dict(BLOCK.findall(content))
    found = next((kind for kind in kinds if kind.endswith(wanted)), None)
    if found is None and (kinds or content[:1] != bytes((SEQUENCE,))):
        raise ValueError(f"holds no {wanted.decode().lower()}, as PEM or DER")
    if found and (b"ENCRYPTED" in found or b"ENCRYPTED" in kinds[found]):
        raise ValueError("is locked with a password, which no board can type")
    try:
        out = binascii.a2b_base64(kinds[found]) if found else content
    except binascii.Error:
        raise ValueError("is damaged") from None
    if len(out) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES} bytes: use elliptic curves, not RSA")
    return out
