"""What stands in the log's files, byte by byte, numbers big endian. Refuses to know when and why.

    segment  frames one after the other; its name is the seq of its first record as 8 hex digits
    frame    length u16 | CRC-32 of the record, started with the stream id, u32 | record
    head     version u8 = 1 | stream u32 | boot u32 | edge u32 | cum u32 | CRC-32 of all that u32

A frame that is not whole has length 0, a length beyond MAX_RECORD_BYTES or a wrong CRC. Files are
always opened by `with`: littlefs crashes when the collector closes a file after the unmount.
"""

import struct
from binascii import crc32

MAX_RECORD_BYTES = 4096  # the longest PDU of the protocol, on any device
FRAME_BYTES = 6  # beside the record
NO_SEQ = 0xFFFFFFFF  # beyond every number
HEAD = ">BIIII"


def numbered(record: bytes) -> tuple[int, int, int]:
    """(seq, where it stands, where the body begins) of a whole record."""
    at = 2 if record[0] < 0xDC else 4
    seq = record[at]
    if seq < 0x80:
        return seq, at, at + 1
    end = at + 1 + (1 << (seq - 0xCC))
    return int.from_bytes(record[at + 1 : end], "big"), at, end


def write_frames(path: str, stream: int, pairs) -> int:
    """Appends [(seq, record)] to a segment, made when missing -> its size in bytes, on flash."""
    with open(path, "ab") as f:
        for _, record in pairs:
            f.write(struct.pack(">HI", len(record), crc32(record, stream)))
            f.write(record)
        return f.tell()


def find(path: str, stream: int, at: int, seq: int, search=None, torn: bool = False):
    """The first whole record from byte `at` on whose number is not below `seq`, or that follows damaged bytes.

    -> (number, record, where it ends, highest number passed or 0, damaged); at the end of the segment
    number is 0, record None and its end that of the last whole one. damaged: bytes that are no whole
    frame stand right before; what is whole after such bytes is found.
    search[0]: so many bytes may be read among those; once they are spent number is -1 and its end
    where to go on, with `torn`.
    """
    end = at
    passed = 0
    with open(path, "rb") as f:
        size = f.seek(0, 2)
        while at + FRAME_BYTES < size:
            f.seek(at)
            length, crc, first = struct.unpack(">HIB", f.read(FRAME_BYTES + 1))
            record = b""
            if length <= min(MAX_RECORD_BYTES, size - at - FRAME_BYTES):
                if first & 0xF0 == 0x90 or first == 0xDC:  # as an array begins
                    f.seek(at + FRAME_BYTES)
                    record = f.read(length)
            if not record or crc32(record, stream) != crc:
                torn = True
                at += 1
                if search:
                    search[0] -= FRAME_BYTES + 1 + len(record)
                    if search[0] <= 0:
                        return -1, None, at, passed, True
                continue
            number = numbered(record)[0]
            at += FRAME_BYTES + length
            if torn or number >= seq:
                return number, record, at, passed, torn
            end = at
            passed = max(passed, number)
    return 0, None, end, passed, torn or end < size


def write_head(path: str, stream: int, boot: int, edge: int, cum: int) -> None:
    """In place: littlefs keeps the old content until the file is closed."""
    data = struct.pack(HEAD, 1, stream, boot, edge, cum)
    with open(path, "wb") as f:
        f.write(data + crc32(data).to_bytes(4, "big"))
