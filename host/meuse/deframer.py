"""The protocol's deframer with a short way for the usual case: a whole sound frame in what was read.

Text is taken in pieces, not byte by byte. Whatever else comes (damage, a frame in pieces) takes the
protocol's own way, so that both give the same items for the same bytes. Costs a third of it per frame.
"""

from binascii import crc32
from typing import Any

from meuse_protocol.cobs import decode
from meuse_protocol.errors import FrameError
from meuse_protocol.framing import FRAME, TEXT, Deframer

# Text taken at once: an end that is far away would be searched for again for every line.
LOOK_BYTES = 64


class FastDeframer(Deframer):
    """See Deframer; text is always allowed."""

    def __init__(self, max_frame_bytes: int) -> None:
        super().__init__(max_frame_bytes)
        self._longest = max_frame_bytes

    def next(self) -> Any:
        """(FRAME, e2e), (TEXT, line), (DAMAGE, reason, raw bytes), or None."""
        if self._kind or self.pending:
            return super().next()
        data = self._data
        at = self._at
        while data[at : at + 1] == b"\0":  # delimiters, and nothing between them
            at += 1
        self._at = at
        if data[at + 1 : at + 2] < b"\x80":  # text, or not there yet: looking for a zero would cost each line a search
            return super().next()
        end = data.find(b"\0", at)
        if end < 0:
            return super().next()
        try:
            body = decode(data[at:end])
        except FrameError:
            return super().next()
        e2e = body[:-4]
        if not 3 <= len(e2e) <= self._longest or crc32(e2e) != int.from_bytes(body[-4:], "little"):
            return super().next()
        self._at = end + 1
        self._cr = False
        self.frames += 1
        return FRAME, e2e

    def _more_text(self, c: int) -> Any:
        item = super()._more_text(c)
        if item is None and self._kind == TEXT:
            data, at = self._data, self._at
            end = min(at + LOOK_BYTES, len(data))
            for mark in (b"\0", b"\n", b"\r"):
                found = data.find(mark, at, end)
                end = found if found >= 0 else end
            self._hold(data[at:end])
            self._at = end
        return item


class Packets:
    """The same for wires that keep packets apart by themselves: each piece of data is one, or is damage."""

    __slots__ = ("_longest", "_waiting", "damaged", "frames", "lines")

    def __init__(self, longest: int) -> None:
        self.frames = 0
        self.lines = 0
        self.damaged = 0
        self._longest = longest
        self._waiting: list[bytes] = []  # hardly ever two; an empty deque would take 760 bytes of each connection

    def feed(self, data: bytes) -> None:
        if 3 <= len(data) <= self._longest:
            self.frames += 1
            self._waiting.append(data)
        else:
            self.damaged += 1

    def next(self) -> Any:
        """(FRAME, e2e), or None."""
        return (FRAME, self._waiting.pop(0)) if self._waiting else None
