"""Bytes of the wire protocol, written from protocol/README.md alone: msgpack, COBS, frames, MAC and batches of rows.

Nothing here comes from the code beside that page; where the two disagree, one of them is wrong.
"""

import hashlib
import hmac
import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

Row = Sequence[Any]
UNARY_MAX = 20
K_MAX = 30


class WireError(ValueError):
    """Bytes that are no frame, or no PDU."""


def pack(thing: Any) -> bytes:
    """The msgpack of a sender: the shortest form of everything, floats in 8 bytes, no maps."""
    if thing is None or isinstance(thing, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[thing]
    if isinstance(thing, int):
        return _pack_int(thing)
    if isinstance(thing, float):
        return b"\xcb" + struct.pack(">d", thing)
    if isinstance(thing, str):
        text = thing.encode()
        return _head(len(text), 0xA0, 31, (0xD9, 0xDA, 0xDB)) + text
    if isinstance(thing, dict):
        raise WireError("a sender writes no maps")
    if isinstance(thing, bytes):
        return _head(len(thing), 0, -1, (0xC4, 0xC5, 0xC6)) + thing
    return _head(len(thing), 0x90, 15, (None, 0xDC, 0xDD)) + b"".join(map(pack, thing))


def _pack_int(number: int) -> bytes:
    if -32 <= number <= 127:
        return struct.pack("b", number)
    codes, forms = (b"\xcc\xcd\xce\xcf", "BHIQ") if number >= 0 else (b"\xd0\xd1\xd2\xd3", "bhiq")
    for code, form in zip(codes, forms, strict=True):
        size = 8 * struct.calcsize(form) - (number < 0)
        if -(1 << size) <= number < 1 << size:
            return bytes([code]) + struct.pack(">" + form, number)
    raise WireError("an int beyond 64 bits")


def _head(count: int, short: int, short_max: int, codes: tuple[int | None, int, int]) -> bytes:
    if count <= short_max:
        return bytes([short + count])
    for code, form in zip(codes, "BHI", strict=True):
        if code is not None and count < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(">" + form, count)
    raise WireError("too long")


class Reader:
    """Reads msgpack objects one after the other; anything outside the subset raises WireError."""

    _SCALARS: ClassVar = {0xC0: None, 0xC2: False, 0xC3: True}
    _NUMBERS: ClassVar = dict(zip(b"\xca\xcb\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3", "fdBHIQbhiq", strict=True))
    _LENGTHS: ClassVar = dict(zip(b"\xc4\xc5\xc6\xd9\xda\xdb\xdc\xdd\xde\xdf", "BHIBHIHIHI", strict=True))

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise WireError("cut short")
        self.at += count
        return piece

    def object(self, depth: int = 4) -> Any:
        code = self.take(1)[0]
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code in self._SCALARS:
            return self._SCALARS[code]
        if code in self._NUMBERS:
            return self._unpack(self._NUMBERS[code])
        if 0x80 <= code <= 0xBF:
            count = code & (0x0F if code < 0xA0 else 0x1F)
        elif code in self._LENGTHS:
            count = self._unpack(self._LENGTHS[code])
        else:
            raise WireError(f"no such object: {code:02x}")
        if 0x80 <= code < 0xA0 or code >= 0xDC:
            if not depth or count > len(self.data) - self.at:
                raise WireError("too deep or too long")
            if code < 0x90 or code >= 0xDE:
                return {self.object(depth - 1): self.object(depth - 1) for _ in range(count)}
            return [self.object(depth - 1) for _ in range(count)]
        content = self.take(count)
        return content.decode() if 0xA0 <= code < 0xC0 or code >= 0xD9 else content

    def _unpack(self, form: str) -> Any:
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]


def cobs_encode(data: bytes) -> bytes:
    """Without the closing zero; a last piece of exactly 254 bytes has no 01 behind it."""
    out = bytearray()
    pieces = data.split(b"\0")
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        while len(piece) > 254 or (len(piece) == 254 and not last):
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        out += bytes([len(piece) + 1]) + piece
    return bytes(out)


def cobs_decode(coded: bytes) -> bytes:
    """Inverse of cobs_encode; raises WireError."""
    out, at = bytearray(), 0
    while at < len(coded):
        code = coded[at]
        if not code or at + code > len(coded) or 0 in coded[at + 1 : at + code]:
            raise WireError("COBS broken")
        out += coded[at + 1 : at + code]
        at += code
        if code < 0xFF and at < len(coded):
            out.append(0)
    return bytes(out)


def frame(e2e: bytes) -> bytes:
    return cobs_encode(e2e + struct.pack("<I", zlib.crc32(e2e))) + b"\0"


def unframe(coded: bytes) -> bytes:
    """The E2E between two zeros; raises WireError."""
    data = cobs_decode(coded)
    if len(data) < 7 or zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise WireError("CRC wrong")
    return data[:-4]


def with_stream(record: bytes, stream: int) -> bytes:
    """The PDU of a record R."""
    at = 4 if record[0] == 0xDC else 2
    return record[:at] + pack(stream) + record[at:]


def split_stream(pdu: bytes) -> tuple[bytes, int]:
    """(R, stream) of a PDU, and of what may follow it; raises WireError."""
    at = 4 if pdu[:1] == b"\xdc" else 2
    reader = Reader(pdu)
    reader.at = at
    stream = reader.object(0)
    return pdu[:at] + pdu[reader.at :], stream


class Keys:
    """Both keys of one stream."""

    def __init__(self, psk: bytes, stream: int, length: int = 8) -> None:
        self.name, self._length = struct.pack(">I", stream), length
        self.up = hmac.digest(psk, b"p1 up" + self.name, "sha256")
        self.down = hmac.digest(psk, b"p1 dn" + self.name, "sha256")

    def mac_up(self, record: bytes) -> bytes:
        return hmac.digest(self.up, b"u" + self.name + record, "sha256")[: self._length]

    def mac_down(self, record: bytes) -> bytes:
        return hmac.digest(self.down, b"d" + self.name + record, "sha256")[: self._length]


def schema_hash(name: str, tick_ms: int, channels: list[list[Any]]) -> bytes:
    return hashlib.sha256(pack([name, tick_ms, channels])).digest()[:4]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def list_column(values: Row) -> list[Any]:
    """The changes of rows 1 to n-1; `values` begins with the base."""
    changes: list[Any] = []
    current = values[0] if _is_int(values[0]) else 0
    for before, value in itertools.pairwise(values):
        if pack(before) == pack(value):
            if changes and isinstance(changes[-1], list) and changes[-1][0] > 0:
                changes[-1] = [changes[-1][0] + 1]
            else:
                changes.append([1])
        elif _is_int(value):
            changes.append(value - current)
            current = value
        else:
            changes.append(value)
    if changes and isinstance(changes[-1], list) and changes[-1][0] > 0:
        changes.pop()
    return changes


def packed_column(values: Row) -> tuple[int, str] | None:
    """(k, bits as text) with the k of fewest bits; None if the column cannot be packed."""
    if not all(map(_is_int, values)):
        return None
    deltas = [b - a for a, b in itertools.pairwise(values)]
    zigzags = [2 * d if d >= 0 else -2 * d - 1 for d in deltas]
    if max(zigzags, default=0) >> 32:
        return None
    return min(((k, _bits(zigzags, k)) for k in range(K_MAX + 1)), key=lambda choice: len(choice[1]))


def _bits(zigzags: list[int], k: int) -> str:
    remainders = "".join(f"{z & ((1 << k) - 1):0{k}b}" for z in zigzags) if k else ""
    quotients = "".join("0" * min(z >> k, UNARY_MAX) + "1" for z in zigzags)
    return remainders + quotients + "".join(f"{z:032b}" for z in zigzags if z >> k >= UNARY_MAX)


def data_body(sid: int, ticks: list[int], rows: list[Row], boot_no: int | None = None) -> list[Any]:
    """DATA behind its seq. `ticks` are since 1970, or since the start of boot `boot_no` if that is given."""
    steps = sorted(b - a for a, b in itertools.pairwise(ticks)) or [0]
    dt = steps[len(steps) // 2]
    late = [tick - ticks[0] - i * dt for i, tick in enumerate(ticks)]
    columns, block = [], ""
    for values in (late, *zip(*rows, strict=True)):
        column: Any = list_column(values) or None
        packed = packed_column(values)
        if column and packed and len(packed[1]) < 8 * len(pack(column)):
            column, block = packed[0], block + packed[1]
        columns.append(column)
    grid = dt if columns[0] is None else [dt, columns[0]]
    while columns and columns[-1] is None:
        columns.pop()
    bits = int(block.ljust(-(-len(block) // 8) * 8, "0"), 2).to_bytes(-(-len(block) // 8), "big") if block else None
    t0 = ticks[0] if boot_no is None else -ticks[0] - 1
    body = [sid, len(rows), t0, grid, list(rows[0]), columns[1:], bits, boot_no]
    while len(body) > 5 and not body[-1]:
        body.pop()
    return body


def single_body(sid: int, tick: int, row: Row, boot_no: int | None = None) -> list[Any]:
    """SINGLE behind its seq."""
    return [sid, tick, *row] if boot_no is None else [sid, -tick - 1, *row, boot_no]
