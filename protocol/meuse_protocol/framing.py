"""Frames on a byte stream that people and boot loaders share: COBS, CRC-32 and the text rule.

Owns delimiters, resynchronisation and the line's counters. A frame's content (E2E) is opaque here.
Between two zero bytes (or after a line of text) the second byte decides: below 0x80 it is text up
to CR, LF or zero, else a frame; the second byte of a frame is the msgpack array header, >= 0x90.
"""

from binascii import crc32

from .cobs import decode, encode
from .errors import FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

FRAME = "frame"
TEXT = "text"
DAMAGE = "damage"


def frame(e2e: bytes) -> bytes:
    """COBS(E2E | CRC-32 little endian) and the closing zero. An opening zero is the link's."""
    return encode(e2e + crc32(e2e).to_bytes(4, "little")) + b"\0"


class Deframer:
    """Bytes in; frames, text lines and damage out. Holds at most one frame of `max_frame_bytes`.

    max_frame_bytes: the longest E2E (PDU and MAC) accepted. text=False: a line without text.
    Feed a piece, then call next() until it gives None. Time is linear in what was fed.
    """

    def __init__(self, max_frame_bytes: int, text: bool = True):
        self._max = max_frame_bytes + 4
        self._text = text
        self._data = b""
        self._at = 0
        self._kind = ""  # of the piece being collected; empty until its second byte is there
        self._over = False
        self._cr = False
        self.pending = bytearray()  # read only: what the unfinished piece holds so far
        self.frames = 0
        self.lines = 0
        self.damaged = 0

    @property
    def in_text(self) -> bool:
        """Whether `pending` is the beginning of a text line (what an echo would show)."""
        return self._kind == TEXT

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0

    def next(self) -> "Any":
        """(FRAME, e2e), (TEXT, line without its end), (DAMAGE, reason, raw bytes), or None."""
        item = None
        while not item and self._at < len(self._data):
            c = self._data[self._at]
            if self._kind == FRAME:
                item = self._more_frame()
                continue
            if self.pending and not self._kind:
                item = self._decide(c)
                continue
            self._at += 1
            if self._kind:
                item = self._more_text(c)
            elif c:
                self.pending.append(c)
        return item

    def idle(self) -> "Any":
        """Call when the line has been silent: a lone CR or LF is somebody pressing Enter."""
        if not self._kind and bytes(self.pending) in (b"\r", b"\n"):
            return self._decide(0)
        return None

    def _decide(self, second: int) -> "Any":
        if second > 127 or not self._text:
            self._kind = FRAME
            return None
        self._kind = TEXT
        first = self.pending[0]
        self.pending[:] = b""
        return self._more_text(first)

    def _more_text(self, c: int) -> "Any":
        if c not in b"\0\n\r":
            self._hold(bytes((c,)))
            return None
        after_cr = c == 10 and self._cr
        self._cr = c == 13
        over, line = self._take()
        if over:
            return self._damage("too long", line)
        for x in line:
            if x > 127 or (x < 32 and x not in b"\b\t\x1b"):
                return self._damage("not text", line)
        if not line and (not c or after_cr):
            return None
        self.lines += 1
        return TEXT, line

    def _more_frame(self) -> "Any":
        data = self._data
        end = data.find(b"\0", self._at)
        self._hold(data[self._at : end] if end >= 0 else data[self._at :])
        self._at = end + 1 or len(data)
        if end < 0:
            return None
        self._cr = False
        over, raw = self._take()
        if over:
            return self._damage("too long", raw)
        try:
            e2e = decode(raw)
        except FrameError:
            return self._damage("cobs", raw)
        if len(e2e) > self._max:
            return self._damage("too long", raw)
        crc = e2e[-4:]
        e2e = e2e[:-4]
        # Nothing shorter than array header, type and stream is a frame: b"" has a valid CRC of 0.
        if len(e2e) < 3 or crc32(e2e).to_bytes(4, "little") != crc:
            return self._damage("crc", raw)
        self.frames += 1
        return FRAME, e2e

    def _hold(self, piece: bytes) -> None:
        room = self._max + self._max // 254 + 1 - len(self.pending)
        self._over = self._over or len(piece) > room
        self.pending += piece[:room]

    def _take(self) -> "tuple[bool, bytes]":
        taken = self._over, bytes(self.pending)
        self._over = False
        self._kind = ""
        self.pending[:] = b""
        return taken

    def _damage(self, reason: str, raw: bytes) -> "Any":
        self.damaged += 1
        return DAMAGE, reason, raw
