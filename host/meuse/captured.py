"""What a person brings in a file: the packets in it, whatever form they were saved in.

Raw frames (an exported file, a logged cable, with or without a console's text around them), the same in
hexadecimal, or a console's `export`: lines of a colon and a frame in hexadecimal. Damage is counted, and a file may
end anywhere. Knows no stream, no key and no journal.
"""

from pathlib import Path
from typing import Final, NamedTuple

from meuse_protocol.framing import FRAME, TEXT, Deframer

from meuse.deframer import FastDeframer
from meuse.errors import ConfigError
from meuse.frames import capture
from meuse.session import MAX_E2E_BYTES

_HEX: Final = b"0123456789abcdefABCDEF"

# The longest frame in hexadecimal, its colon, and what COBS adds.
_LINE_BYTES: Final = 2 * (MAX_E2E_BYTES + 32)


class Capture(NamedTuple):
    """`packets` in their order; `damaged`: pieces that are no frame; `lines`: of text around them."""

    packets: list[bytes]
    damaged: int
    lines: int
    cut: bool
    """The file ends inside a frame."""


def read(path: Path) -> Capture:
    """Everything in the file, which is read whole; ConfigError when it cannot be."""
    try:
        data = path.read_bytes()
    except OSError as error:
        advice = "name a file that a board or a cable filled"
        raise ConfigError(f"cannot read {path}: {error.strerror}", advice) from error
    return packets_in(data)


def packets_in(data: bytes) -> Capture:
    try:
        data = capture(data)
    except ConfigError:  # hexadecimal that was cut in the middle of a byte
        data = capture(data.rstrip()[:-1])
    return _Reader().read(data)


class _Reader:
    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._damaged = 0
        self._lines = 0
        self._digits = b""  # of a line that may go on in the next: windows wrap what is copied out of them

    def read(self, data: bytes) -> Capture:
        deframer = FastDeframer(_LINE_BYTES)
        deframer.feed(data)
        while (item := deframer.next()) is not None:
            if item[0] is TEXT:
                self._text(item[1])
                continue
            self._end_line()
            if item[0] is FRAME and len(item[1]) <= MAX_E2E_BYTES:
                self._packets.append(item[1])
            else:
                self._damaged += 1
        cut = bool(deframer.pending)
        if deframer.in_text:
            self._text(bytes(deframer.pending))
            cut = False
        before = self._damaged
        self._end_line()
        return Capture(self._packets, self._damaged + cut, self._lines, cut or self._damaged > before)

    def _text(self, line: bytes) -> None:
        self._lines += 1
        line = line.strip()
        if line.startswith(b":"):
            self._end_line()
            self._digits = line[1:]
        elif self._digits and line and not line.translate(None, _HEX):
            self._digits += line
        else:
            self._end_line()

    def _end_line(self) -> None:
        """A frame in hexadecimal is complete, or will never be."""
        digits, self._digits = self._digits, b""
        if not digits:
            return
        deframer = Deframer(MAX_E2E_BYTES, text=False)
        if not len(digits) % 2 and not digits.translate(None, _HEX):
            deframer.feed(bytes.fromhex(digits.decode()))
        item = deframer.next()
        if item is not None and item[0] is FRAME:
            self._packets.append(item[1])
        else:
            self._damaged += 1
