"""What the endpoints ask of the program around them. Types only: nothing imports this at run time."""

from collections.abc import Callable, Iterable
from typing import Any as Any
from typing import Protocol

from .host_stream import StreamState

Check = Callable[[bytes], int]  # where the one object in these bytes ends; raises RemoteError as msgpack.scan does

class Log(Protocol):
    """The board's log of one stream; firmware/meuse_board/flash_log.py is one."""

    def oldest(self) -> int:
        """The lowest seq not known to be acknowledged; from there on each is kept or named by a GAP record."""

    def next_seq(self) -> int:
        """The number the next record will have."""

    def get(self, seq: int) -> bytes | None:
        """The record's bytes, always the same ones; None when it is gone."""

    def acked(self, cum: int, ranges: Iterable[tuple[int, int]]) -> None:
        """All below `cum` and all of `ranges` (first, last) is durable on the host: may be forgotten."""

class Directory(Protocol):
    """Who is known to a host: devices, their keys, the streams bound to them."""

    def keys(self, device: str) -> list[bytes] | None:
        """The device's secrets, current first; [] for a device without a key, None for an unknown device."""

    def stream(self, stream: int) -> StreamState | None:
        """The state of a bound stream, the same object on every link."""

    def bind(self, stream: int, device: str) -> StreamState:
        """A verified HELLO brought a new stream: the state to keep for it."""
