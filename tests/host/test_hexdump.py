"""Dumps by the tools that people have, back into the bytes they were made from."""

import shutil
import subprocess
from pathlib import Path

import pytest
from meuse.errors import ConfigError
from meuse.frames import capture

DATA = bytes(range(256)) + bytes(100) + b"0123 4567  89ab cdef:|.." * 3 + b"\x92\x20\xce\x80"

# As printed by xxd 2023-10-25 and by hexdump 2.38 for these bytes; both tools are not on every machine.
XXD = """00000000: 0092 20ce 8000 0001 0500 6162 2063 6420  .. .......ab cd
00000010: 7c3a                                     |:
"""
HEXDUMP = """00000000  00 92 20 ce 80 00 00 01  05 00 61 62 20 63 64 20  |.. .......ab cd |
00000010  7c 3a                                             ||:|
00000012
"""
OD = """000000 00 92 20 ce 80 00 00 01 05 00 61 62 20 63 64 20
000010 7c 3a
000012
"""
PLAIN = bytes.fromhex("009220ce800000010500 616220636420 7c3a")
REPEATED = """00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040  01                                                |.|
00000041
"""


@pytest.mark.parametrize("text", [XXD, HEXDUMP, OD], ids=["xxd", "hexdump -C", "od"])
def test_a_dump_is_read(text: str) -> None:
    assert capture(text.encode()) == PLAIN


def test_lines_left_out_are_filled_in() -> None:
    assert capture(REPEATED.encode()) == bytes(64) + b"\x01"


def test_a_dump_with_a_line_missing_is_refused() -> None:
    torn = HEXDUMP.replace("00000010", "00000020")
    with pytest.raises(ConfigError, match="line 2 of the dump"):
        capture(torn.encode())


@pytest.mark.parametrize("text", ["00 00 00 00 92 20", "0x92, 0x20", "92:20:ce", "00000000 92202020"])
def test_plain_hexadecimal_is_no_dump(text: str) -> None:
    digits = "".join(c for c in text.replace("0x", "") if c in "0123456789abcdef")
    assert capture(text.encode()) == bytes.fromhex(digits)


@pytest.mark.parametrize("command", [["xxd"], ["hexdump", "-C"], ["od", "-A", "x", "-t", "x1"]], ids=lambda c: c[0])
def test_what_the_tools_of_this_machine_print_is_read(command: list[str], tmp_path: Path) -> None:
    if not shutil.which(command[0]):
        command = ["od", "-A", "x", "-t", "x1"]  # coreutils, on every machine
    file = tmp_path / "capture"
    file.write_bytes(DATA)
    printed = subprocess.run([*command, str(file)], check=True, capture_output=True).stdout
    assert capture(printed) == DATA
