"""What the endpoints ask of the program around them. Types only; nothing imports it at run time."""

from collections.abc import Callable as Callable
from collections.abc import Iterable
from typing import Any as Any
from typing import Protocol

from .host_stream import StreamState

# Where the one msgpack object in these bytes ends; raises RemoteError as msgpack.scan does.
Check = Callable[[bytes], int]

# Encrypts whole blocks of 16 bytes with one AES key, each by itself; and what makes one of a key.
Ecb = Callable[[bytes], bytes]
Aes = Callable[[bytes], Ecb]

class Log(Protocol):
    """The board's log of one stream."""

    def oldest(self) -> int:
        """The lowest seq not known to be durable on the host.

        From there on each record is kept, or a GAP record names it.
        """

    def next_seq(self) -> int:
        """The number that the next record will have."""

    def get(self, seq: int) -> bytes | None:
        """The record's bytes, the same ones every time; None when it is gone."""

    def acked(self, cum: int, ranges: Iterable[tuple[int, int]]) -> None:
        """All below `cum` and all of `ranges` (first, last) is durable: it may be forgotten."""

class Directory(Protocol):
    """Who is known to a host: devices, their keys, and the streams bound to them."""

    def keys(self, device: str) -> list[bytes] | None:
        """The device's secrets, current first; [] for one without a key, None if unknown."""

    def stream(self, stream: int) -> StreamState | None:
        """The state of a bound stream: the same object on every link."""

    def bind(self, stream: int, device: str) -> StreamState:
        """A verified HELLO brought a new stream: the state to keep for it."""
