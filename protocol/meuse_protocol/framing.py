"""Frames on a byte stream that people and boot loaders share: COBS, CRC-32 and the text rule.

Owns delimiters, resynchronisation and the line's counters. A frame's content (E2E) is opaque here.
Between two zero bytes (or after a line of text) the second byte decides: below 0x80 it is text up
to CR, LF or zero, else a frame; the second byte of a frame is the msgpack array header, >= 0x90.
"""

from binascii import crc32

from . import cobs
from .errors import FrameError

FRAME = "frame"
TEXT = "text"
DAMAGE = "damage"

_CRC_BYTES = 4
_SHORTEST = 3 + _CRC_BYTES  # array header, type, stream
_RESIDUE = 0x2144DF1C  # CRC-32 over any bytes followed by their own CRC-32, little endian


def frame(e2e: bytes) -> bytes:
    """COBS(E2E | CRC-32 little endian) and the closing zero. The opening zero is the link's."""
    return cobs.encode(e2e + crc32(e2e).to_bytes(_CRC_BYTES, "little")) + b"\0"


class Deframer:
    """Bytes in, frames, text lines and damage out; holds at most one frame of `max_frame_bytes`.

    max_frame_bytes: the longest E2E (PDU and MAC) accepted. text=False: a line without text.
    Feed a piece, then call next() until it gives None. Time is linear in what was fed.
    """

    def __init__(self, max_frame_bytes: int, text: bool = True):
        self._max = max_frame_bytes + _CRC_BYTES
        self._limit = self._max + 1 + self._max // 254
        self._text = text
        self._data = b""
        self._pos = 0
        self._kind = None  # of the piece being collected; None until its second byte is there
        self._over = False
        self._cr = False
        self.pending = bytearray()  # read only: what the unfinished piece holds so far
        self.frames = 0
        self.lines = 0
        self.damaged = 0

    @property
    def in_text(self) -> bool:
        """Whether `pending` is the beginning of a text line (what an echo would show)."""
        return self._kind is TEXT

    def feed(self, data: bytes) -> None:
        rest = self._data[self._pos :]
        self._data = rest + data if rest else bytes(data)
        self._pos = 0

    def next(self):
        """(FRAME, e2e), (TEXT, line without its end), (DAMAGE, reason, raw bytes), or None."""
        data = self._data
        end = len(data)
        held = self.pending
        while self._pos < end:
            c = data[self._pos]
            item = None
            if self._kind is FRAME:
                item = self._more_frame()
            elif self._kind is TEXT:
                self._pos += 1
                item = self._more_text(c)
            elif held:
                item = self._decide(c)
            else:
                self._pos += 1
                if c:
                    held.append(c)
            if item:
                return item
        return None

    def idle(self):
        """Call when the line has been silent: a lone CR or LF is somebody pressing Enter."""
        if self._text and not self._kind and bytes(self.pending) in (b"\r", b"\n"):
            return self._decide(0)
        return None

    def _decide(self, second):
        if not self._text or second >= 0x80:
            self._kind = FRAME
            return None
        self._kind = TEXT
        first = self.pending[0]
        self.pending[:] = b""
        return self._more_text(first)

    def _more_text(self, c):
        if c not in b"\0\n\r":
            self._hold(bytes((c,)))
            return None
        lf_of_crlf = c == 10 and self._cr
        self._cr = c == 13
        over, line = self._take()
        if not line and (c == 0 or lf_of_crlf):
            return None
        for x in line:
            if x > 0x7F or (x < 32 and x not in b"\b\t\x1b"):
                return self._damage("not text", line)
        if over:
            return self._damage("too long", line)
        self.lines += 1
        return TEXT, line

    def _more_frame(self):
        stop = self._data.find(b"\0", self._pos)
        end = len(self._data) if stop < 0 else stop
        self._hold(self._data[self._pos : end])
        self._pos = end + 1
        if stop < 0:
            return None
        self._cr = False
        over, raw = self._take()
        try:
            body = b"" if over else cobs.decode(raw)
        except FrameError:
            return self._damage("cobs", raw)
        if over or len(body) > self._max:
            return self._damage("too long", raw)
        if len(body) < _SHORTEST or crc32(body) != _RESIDUE:
            return self._damage("crc", raw)
        self.frames += 1
        return FRAME, body[:-_CRC_BYTES]

    def _hold(self, piece):
        room = self._limit - len(self.pending)
        if len(piece) > room:
            self._over = True
            piece = piece[:room]
        self.pending += piece

    def _take(self):
        over, raw = self._over, bytes(self.pending)
        self._over, self._kind = False, None
        self.pending[:] = b""
        return over, raw

    def _damage(self, reason, raw):
        self.damaged += 1
        return DAMAGE, reason, raw
