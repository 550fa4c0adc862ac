"""What the columns of a batch mean: the SCHEMA record's body, and the hash HELLO names it by.

Refuses to know how a body is read again: that is schema_decode, which a board need not import.
"""

from hashlib import sha256

from .msgpack import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

COUNTER = 1  # a total that only rises; a fall means it was reset
STATE = 2  # a state or a code: never averaged

MAX_SID = 127
MAX_CHANNELS = 64


class Schema:
    """sid: 1-127. name: of the group. tick_ms: length of a tick of its time stamps.

    channels: (name, unit, exp10, flags) each; a value is the integer on the wire times 10^exp10.
    Units are SenML's (RFC 8428); flags are COUNTER and STATE.
    """

    def __init__(
        self, sid: int, name: str, tick_ms: int, channels: "list[tuple[str, str, int, int]]"
    ):
        self.sid = sid
        self.name = name
        self.tick_ms = tick_ms
        self.channels = channels

    def to_body(self) -> "list[Any]":
        """The elements of the SCHEMA record after seq; flags 0 are left out."""
        rows = [list(c) if c[3] else list(c[:3]) for c in self.channels]
        return [self.sid, self.name, self.tick_ms, rows]

    def hash4(self) -> bytes:
        """First 4 bytes of SHA-256 of msgpack [name, tick_ms, channels]; two equal schemas agree."""
        return sha256(pack(self.to_body()[1:])).digest()[:4]
