"""Runs on MicroPython: what a copy of a board's flash holds, one line `stream seq record-in-hex` per record.

    micropython list_flash.py FLASH.bin BLOCKS LOG_FOLDER     (MICROPYPATH: where `flash` is)

Reads the log by what firmware/meuse_board/log_layout.py says of its bytes, not by its code.
"""

import os
import struct
import sys
from binascii import crc32

from flash import FileFlash, mount


def seq_of(record):
    at = 2 if record[0] < 0xDC else 4
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4}.get(record[at], 0)
    return int.from_bytes(record[at + 1 : at + 1 + size], "big") if size else record[at]


def content(path):
    with open(path, "rb") as f:
        return f.read()


mount(FileFlash(sys.argv[1], int(sys.argv[2])), "/flash")
folder = sys.argv[3]
names = sorted([entry[0] for entry in os.ilistdir(folder)])
if "head" in names:
    stream = struct.unpack(">I", content(folder + "/head")[1:5])[0]
    for name in names:
        if len(name) != 8:
            continue
        data = content(folder + "/" + name)
        at = 0
        while at + 6 < len(data):
            length, crc = struct.unpack(">HI", data[at : at + 6])
            record = data[at + 6 : at + 6 + length]
            if not length or len(record) < length or crc32(record, stream) != crc:
                break
            print(stream, seq_of(record), record.hex())
            at += 6 + length
