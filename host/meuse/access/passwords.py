"""Passwords for brokers: random, or a board's own, which follows from its key; and how they are stored.

All have 192 random bits, so nobody tries them out, and a salt made of the password itself is salt enough: the same
password gives the same line, and a file of them changes only when a password does. The form is Mosquitto's
(PBKDF2-HMAC-SHA512, `$7$`, see mosquitto_passwd(1)); one form serves every broker.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

RANDOM_BYTES: Final = 24

# For a password that a person could think of this would be far too few.
ROUNDS: Final = 101
SALT_BYTES: Final = 12

# Apart from the labels of the wire protocol (protocol/README.md, "Keys"), which begin with `p1`.
_BOARD: Final = b"meuse broker password"
_OWN: Final = b"meuse broker user "


def made() -> str:
    """A new one, 32 letters that need no quoting anywhere."""
    return secrets.token_urlsafe(RANDOM_BYTES)


def of_board(key: bytes) -> str:
    """What a board with this key says to a broker. Tells nothing about the key."""
    return _of(key, _BOARD)


def of_own(seed: bytes, user: str) -> str:
    """What the host itself says to a broker as this user, the same on all hosts that have this secret."""
    return _of(seed, _OWN + user.encode())


def _of(secret: bytes, label: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret, label, "sha256")[:RANDOM_BYTES]).decode()


def hashed(password: str) -> str:
    """As it is stored; only for what was made here."""
    secret = password.encode()
    salt = hashlib.sha256(b"salt" + secret).digest()[:SALT_BYTES]
    found = hashlib.pbkdf2_hmac("sha512", secret, salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(found).decode()}"


def same(one: str, other: str) -> bool:
    """In a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
