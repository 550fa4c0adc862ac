"""Dumps as `xxd`, `hexdump -C` and `od -A x -t x1` print them, back into bytes."""

import re
from typing import Final

from meuse.errors import ConfigError

# An offset, then bytes in hexadecimal alone or in groups, then the same as text, which tells nothing.
_LINE: Final = re.compile(
    r"(?P<offset>[0-9a-fA-F]{6,})(?P<mark>:?) *(?P<bytes>(?:[0-9a-fA-F]{2,8} {0,2})*)(?P<text>.*)"
)

# Where equal lines are left out, these are the most that one star may stand for: captures are small.
_MOST_BYTES: Final = 64 * 1024 * 1024


def is_dump(text: str) -> bool:
    """Whether the first line begins at offset 0 and shows text, or the second where the first ends."""
    lines = [line for line in text.splitlines()[:2] if line.strip()]
    found = [_LINE.fullmatch(line.rstrip()) for line in lines]
    if not found or found[0] is None or int(found[0]["offset"], 16):
        return False
    if found[0]["mark"] or found[0]["text"].startswith("|"):
        return True
    return len(found) == 2 and found[1] is not None and int(found[1]["offset"], 16) == len(_bytes_of(found[0]))


def undump(text: str) -> bytes:
    """The bytes of a dump; ConfigError names the line that does not go on where the last one ended."""
    data, row, star = bytearray(), b"", False
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() in ("", "*"):
            star = star or line.strip() == "*"
            continue
        match = _LINE.fullmatch(line.rstrip())
        offset = int(match["offset"], 16) if match else -1
        if star and row and len(data) < offset <= _MOST_BYTES:
            data += row * ((offset - len(data)) // len(row))
        if match is None or offset != len(data):
            raise ConfigError(f"line {number} of the dump does not go on where the last one ends", "check the capture")
        row, star = _bytes_of(match), False
        data += row
    return bytes(data)


def _bytes_of(match: re.Match[str]) -> bytes:
    """At most 16 bytes: what follows in a line of xxd may look like more of them."""
    digits = match["bytes"]
    if match["mark"]:  # two spaces end the bytes of xxd; in hexdump -C they part two halves
        digits = digits.partition("  ")[0]
    return bytes.fromhex(digits.replace(" ", ""))
