"""A second decoder, written from protocol/README.md alone: slow, plain, sharing no line with the package.

It guards against vectors that are right only because the code that made them reads them.
"""

import hashlib
import hmac
import struct
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Wrong(Exception):
    """The bytes break the specification."""


def crc32(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def open_cobs(data: bytes) -> bytes:
    out: list[int] = []
    while data:
        code, block, data = data[0], data[1 : data[0]], data[data[0] :]
        if code == 0 or len(block) != code - 1 or 0 in block:
            raise Wrong("cobs")
        out.extend(block)
        if code != 255 and data:
            out.append(0)
    return bytes(out)


def open_frame(wire: bytes) -> bytes:
    """E2E of one frame with its closing zero."""
    if wire[-1] != 0:
        raise Wrong("no zero at the end")
    body = open_cobs(wire[:-1])
    if crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
        raise Wrong("crc")
    return body[:-4]


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, n: int) -> bytes:
        if n > len(self.data):
            raise Wrong("cut")
        head, self.data = self.data[:n], self.data[n:]
        return head

    def number(self, n: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(n), "big", signed=signed)

    def object(self) -> Any:
        c = self.number(1)
        if c <= 0x7F:
            return c
        if c <= 0x8F:
            return self.map(c - 0x80)
        if c <= 0x9F:
            return self.array(c - 0x90)
        if c <= 0xBF:
            return self.take(c - 0xA0).decode()
        if c >= 0xE0:
            return c - 0x100
        if c in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[c]
        if c in (0xC4, 0xC5, 0xC6):
            return self.take(self.number({0xC4: 1, 0xC5: 2, 0xC6: 4}[c]))
        if c == 0xCA:
            return struct.unpack(">f", self.take(4))[0]
        if c == 0xCB:
            return struct.unpack(">d", self.take(8))[0]
        if 0xCC <= c <= 0xCF:
            return self.number({0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}[c])
        if 0xD0 <= c <= 0xD3:
            return self.number({0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}[c], signed=True)
        if c in (0xD9, 0xDA, 0xDB):
            return self.take(self.number({0xD9: 1, 0xDA: 2, 0xDB: 4}[c])).decode()
        if c in (0xDC, 0xDD):
            return self.array(self.number({0xDC: 2, 0xDD: 4}[c]))
        if c in (0xDE, 0xDF):
            return self.map(self.number({0xDE: 2, 0xDF: 4}[c]))
        raise Wrong("code")

    def array(self, n: int) -> list[Any]:
        return [self.object() for _ in range(n)]

    def map(self, n: int) -> dict[str, Any]:
        return {self.object(): self.object() for _ in range(n)}


def open_packet(e2e: bytes) -> tuple[list[Any], bytes, bytes]:
    """(array, record R, MAC)"""
    reader = Reader(e2e)
    array = reader.object()
    pdu, mac = e2e[: len(e2e) - len(reader.data)], reader.data
    header = 3 if pdu[0] == 0xDC else 1
    stream = 1 if pdu[header + 1] < 0x80 else 5
    return array, pdu[: header + 1] + pdu[header + 1 + stream :], mac


def mac_of(psk: bytes, kind: int, stream: int, record: bytes) -> bytes:
    """The whole 32 bytes."""
    way, direction = (b"p1 up", b"u") if kind < 32 else (b"p1 dn", b"d")
    stream4 = stream.to_bytes(4, "big")
    key = hmac.new(psk, way + stream4, hashlib.sha256).digest()
    return hmac.new(key, direction + stream4 + record, hashlib.sha256).digest()


def open_sealed(psk: bytes, stream: int, sealed: bytes) -> bytes:
    """R of the record inside; `sealed` is R of the SEALED record. CTR is the library's own."""
    reader = Reader(sealed[2:])
    seq = reader.object()
    hidden = reader.object()
    where = stream.to_bytes(4, "big")
    key = hmac.new(psk, b"p1 enc" + where, hashlib.sha256).digest()
    counter = modes.CTR(where + seq.to_bytes(4, "big") + bytes(8))
    plain = Cipher(algorithms.AES(key), counter).decryptor().update(hidden)
    at = 4 if plain[0] == 0xDC else 2
    seq_bytes = sealed[2 : len(sealed) - 2 - len(hidden)]
    return plain[:at] + (seq_bytes if len(hidden) < 256 else seq_bytes[:-1]) + plain[at:]


def rows_of(array: list[Any]) -> tuple[list[int], list[list[Any]], int | None]:
    """(times, columns, boot_no) of a DATA or SINGLE record"""
    if array[0] == 2:
        values = array[5:] if array[4] >= 0 else array[5:-1]
        times, boot = ([array[4]], None) if array[4] >= 0 else ([-array[4] - 1], array[-1])
        return times, [[value] for value in values], boot
    n, t0, dt, base, columns, bits, boot = (array + [None] * 4)[4:11]
    start, boot = (t0, None) if t0 >= 0 else (-t0 - 1, boot)
    block = Bits(bits or b"")
    lateness = [0] * n
    if isinstance(dt, list):
        dt, late = dt
        lateness = column(late, 0, n, block)
    times = [start + i * dt + lateness[i] for i in range(n)]
    columns = (columns or []) + [None] * (len(base) - len(columns or []))
    out = [column(columns[i], base[i], n, block) for i in range(len(base))]
    if len(block.left) > 7 or "1" in block.left:
        raise Wrong("bits left over")
    return times, out, boot


class Bits:
    def __init__(self, data: bytes) -> None:
        self.left = "".join(f"{byte:08b}" for byte in data)

    def take(self, n: int) -> int:
        if n > len(self.left):
            raise Wrong("bits too short")
        head, self.left = self.left[:n], self.left[n:]
        return int(head, 2) if n else 0


def column(element: Any, base: Any, n: int, block: Bits) -> list[Any]:
    if element is None:
        return [base] * n
    if isinstance(element, list):
        return listed(element, base, n)
    remainders = [block.take(element) for _ in range(n - 1)]
    quotients = []
    for _ in range(n - 1):
        quotients.append(0)
        while block.take(1) == 0:
            quotients[-1] += 1
    out = [base]
    for remainder, quotient in zip(remainders, quotients, strict=True):
        if quotient > 20:
            raise Wrong("quotient")
        z = block.take(32) if quotient == 20 else quotient * 2**element + remainder
        out.append(out[-1] + (z // 2 if z % 2 == 0 else -(z + 1) // 2))
    return out


def listed(element: list[Any], base: Any, n: int) -> list[Any]:
    rows = [base]
    v = base if type(base) is int else 0
    for change in element:
        if type(change) is int:
            v += change
            rows.append(v)
        elif isinstance(change, list) and change[0] > 0:
            rows += [rows[-1]] * change[0]
        else:
            rows.append(change)
    rows += [rows[-1]] * (n - len(rows))
    if len(rows) > n:
        raise Wrong("column too long")
    return rows
