"""NATS's signed words: an Ed25519 key in the form of an account's, and the JWTs it signs.

A public key is `prefix byte | 32 bytes | CRC-16/XMODEM, little endian` in base32; a JWT's algorithm is called
`ed25519-nkey` (nats-io/nkeys, README; NATS ADR-14 "JWT library free JWT generation").
"""

import base64
import binascii
import hashlib
import json
import time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ACCOUNT: Final = 0  # prefix: the text begins with A
_HEAD: Final = {"typ": "JWT", "alg": "ed25519-nkey"}


class Signer:
    """Signs as one account. seed: 32 secret bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        body = bytes([ACCOUNT]) + raw
        check = binascii.crc_hqx(body, 0).to_bytes(2, "little")
        self.public = base64.b32encode(body + check).decode().rstrip("=")

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT of these claims, with who says it, when, and an id."""
        said = {**claims, "iss": self.public, "iat": int(time.time())}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()
        said["jti"] = base64.b32encode(digest).decode().rstrip("=")
        text = f"{_part(_HEAD)}.{_part(said)}"
        return f"{text}.{_base64(self._key.sign(text.encode()))}"


def new_seed() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def claims_of(jwt: str) -> dict[str, Any]:
    """What a JWT claims, unverified: only for what the server itself sent. Raises ValueError."""
    try:
        part = jwt.split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError) as error:
        raise ValueError("no JWT") from error
    return found


def _part(claims: dict[str, Any]) -> str:
    return _base64(json.dumps(claims, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
