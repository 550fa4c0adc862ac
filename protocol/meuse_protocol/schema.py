"""What the columns of a batch mean: the SCHEMA record's body, and the hash HELLO names it by."""

from hashlib import sha256

from .errors import ContentError
from .msgpack import pack

COUNTER = 1  # a total that only rises; a fall means it was reset
STATE = 2  # a state or a code: never averaged

MAX_SID = 127
MAX_CHANNELS = 64


class Schema:
    """sid: 1-127. name: of the group. tick_ms: length of a tick of its time stamps.

    channels: (name, unit, exp10, flags) each; a value is the integer on the wire times 10^exp10.
    Units are SenML's (RFC 8428); flags are COUNTER and STATE.
    """

    def __init__(self, sid: int, name: str, tick_ms: int, channels):
        self.sid = sid
        self.name = name
        self.tick_ms = tick_ms
        self.channels = channels

    def to_body(self) -> list:
        """The elements of the SCHEMA record after seq; flags 0 are left out."""
        rows = [list(c) if c[3] else list(c[:3]) for c in self.channels]
        return [self.sid, self.name, self.tick_ms, rows]

    def hash4(self) -> bytes:
        """First 4 bytes of SHA-256 of msgpack [name, tick_ms, channels]; two equal schemas agree."""
        return sha256(pack(self.to_body()[1:])).digest()[:4]


def from_body(body: list) -> Schema:
    """The Schema a SCHEMA record holds: `body` is what follows seq. ContentError if it makes none."""
    sid, name, tick_ms, rows = (body + [None] * 4)[:4]
    _must(_within(sid, 1, MAX_SID), "sid")
    _must(_text(name, 32), "schema name")
    _must(_within(tick_ms, 1, 3600000), "tick_ms")
    _must(isinstance(rows, list) and 0 < len(rows) <= MAX_CHANNELS, "channels")
    channels = []
    for row in rows:
        _must(isinstance(row, list), "channel")
        channel, unit, exp10, flags = (row + [None] * 4)[:4]
        _must(_text(channel, 32), "channel name")
        _must(isinstance(unit, str) and len(unit) <= 16, "unit")
        _must(_within(exp10, -18, 18), "exp10")
        _must(flags is None or _within(flags, 0, 255), "flags")
        channels.append((channel, unit, exp10, flags or 0))
    return Schema(sid, name, tick_ms, channels)


def _must(right, what):
    if not right:
        raise ContentError(what)


def _within(x, low, high):
    return isinstance(x, int) and not isinstance(x, bool) and low <= x <= high


def _text(x, longest):
    if not isinstance(x, str) or not 0 < len(x) <= longest:
        return False
    return not x.lower().strip("abcdefghijklmnopqrstuvwxyz0123456789_-")
