"""Who this board is: device id and key, as provisioned. Nothing here, or anywhere, shows the key."""

from meuse_protocol.errors import MeuseError
from meuse_protocol.msgpack import unpack

from .stored import load


def identity(path: str):
    """(device id, 32 bytes of key or None) from /secret.bin; None on a board that was never provisioned."""
    payload = load(path)
    if payload is None:
        return None
    try:
        device, key = unpack(payload)
    except (MeuseError, ValueError, TypeError):
        return None
    return (device, key) if isinstance(device, str) else None
