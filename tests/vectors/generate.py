"""Writes the vectors: `python tests/vectors/generate.py`. A test compares them with what this would write.

In the objects bytes stand as {"bin": hex}, floats as {"float": 8 bytes in hex}, maps as {"map": ...}.
"""

import json
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent.parent / part) for part in ("", "protocol", "host")]

from meuse.cipher import aes  # noqa: E402
from meuse_protocol import auth, cobs, columns_decode, framing, messages, msgpack, sealing  # noqa: E402
from meuse_protocol.fragments import Fragments  # noqa: E402

from tests.vectors import broken, cases  # noqa: E402

# Longer lines are more than a test on a board has room for: they go to pdus_large.jsonl.
BOARD_LINE_CHARS = 5000


def files() -> dict[str, str]:
    """File name -> content."""
    pdus = [_line(_pdu(case)) for case in cases.all_cases()]
    lines = {"msgpack": _msgpack(), "cobs": _cobs(), "hmac": broken.rfc4231()}
    lines |= {"lines": broken.lines(), "bad": broken.packets()}
    lines |= {"parts": _parts(), "sealed": _sealed()}
    contents = {name: "".join(map(_line, items)) for name, items in lines.items()}
    contents["pdus"] = "".join(line for line in pdus if len(line) <= BOARD_LINE_CHARS)
    contents["pdus_large"] = "".join(line for line in pdus if len(line) > BOARD_LINE_CHARS)
    return {f"{name}.jsonl": content for name, content in contents.items()}


def _line(item: dict[str, Any]) -> str:
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n"


def _pdu(case: cases.Case) -> dict[str, Any]:
    stream = case.stream if case.stream >> 31 else cases.STREAM
    record = messages.record(case.kind, *case.body)
    pdu = messages.splice(record, case.stream)
    e2e = pdu
    if case.psk:
        up, down = auth.direction_keys(case.psk, stream)
        key, direction = (up, auth.UP) if case.kind < 32 else (down, auth.DOWN)
        e2e += auth.mac(key, direction, stream, record, case.mac_bytes)
    item = {
        "name": case.name,
        "object": plain([case.kind, case.stream, *case.body]),
        "stream": stream,
        "key": case.psk.hex() if case.psk else None,
        "pdu": pdu.hex(),
        "e2e": e2e.hex(),
        "wire": framing.frame(e2e).hex(),
    }
    if case.kind in (messages.DATA, messages.SINGLE):
        fields = messages.parse(pdu).fields
        batch = columns_decode.decode(fields)
        item["times"] = batch.times
        item["columns"] = plain(batch.columns)
        item["boot_no"] = columns_decode.boot_no(fields)
        item["made_by_encoder"] = case.batch is not None
    return item


def _records() -> Iterable[bytes]:
    """Short and long ones, with a long array header and with large seqs."""
    yield messages.record(messages.GAP, 7, 3, 6, 2)
    yield messages.record(messages.BLOB, 1, 1, None, b"")
    yield messages.record(messages.BLOB, 128, 1, None, bytes(range(256)))
    yield messages.record(messages.BLOB, 2**32 - 1, 2, None, bytes(600))
    yield messages.record(15, 65536, *range(40))


def _parts() -> Iterable[dict[str, Any]]:
    up = auth.direction_keys(cases.PSK, cases.STREAM)[0]
    for mtu in (51, 115, 222):
        for record in _records():
            whole = record + auth.mac(up, auth.UP, cases.STREAM, record, 8)
            seq = messages.parse(messages.splice(record, cases.STREAM)).seq
            fragments = Fragments(mtu)
            fragments.add(seq, 0, len(whole))
            parts = []
            while len(fragments):
                parts.append(fragments.next(whole, cases.STREAM)[0].hex())
            yield {"stream": cases.STREAM, "mtu": mtu, "whole": whole.hex(), "parts": parts}


def _sealed() -> Iterable[dict[str, Any]]:
    ecb = aes(sealing.seal_key(cases.PSK, cases.STREAM))
    for record in _records():
        sealed = sealing.seal(ecb, cases.STREAM, record)
        yield {"key": cases.PSK.hex(), "stream": cases.STREAM, "record": record.hex(), "sealed": sealed.hex()}


def plain(x: Any) -> Any:
    """The object as JSON can say it exactly."""
    if isinstance(x, bytes | bytearray):
        return {"bin": x.hex()}
    if isinstance(x, float):
        return {"float": struct.pack(">d", x).hex()}
    if isinstance(x, dict):
        return {"map": {key: plain(item) for key, item in x.items()}}
    if isinstance(x, list | tuple):
        return [plain(item) for item in x]
    return x


def _msgpack() -> Iterable[dict[str, Any]]:
    """Objects in their shortest form, and other forms that a receiver reads all the same."""
    objects = [*cases.INTEGER_EDGES, None, True, False, 0.0, 1.5, b"", b"\x00" * 256, "", "a" * 31]
    for x in [*objects, "a" * 32, "b" * 256, [], [1] * 15, [1] * 16, [[[[]]]], [None] * 256]:
        yield {"object": plain(x), "hex": msgpack.pack(x).hex(), "shortest": True}
    longer: list[tuple[Any, str]] = [
        (1, "cc01"),
        (1, "cd0001"),
        (1, "ce00000001"),
        (1, "cf0000000000000001"),
        (1, "d001"),
        (-1, "d0ff"),
        (-1, "d1ffff"),
        (-1, "d2ffffffff"),
        (-1, "d3ffffffffffffffff"),
        (1.5, "ca3fc00000"),
        ("a", "d90161"),
        ("a", "da000161"),
        ("a", "db0000000161"),
        (b"a", "c5000161"),
        (b"a", "c60000000161"),
        ([1], "dc000101"),
        ([1], "dd0000000101"),
        ({}, "80"),
        ({"a": 1, "b": [2]}, "82a16101a1629102"),
        ({"a": 1}, "de0001a16101"),
        ({"a": 1}, "df00000001a16101"),
    ]
    for x, text in longer:
        yield {"object": plain(x), "hex": text, "shortest": False}


def _cobs() -> Iterable[dict[str, str]]:
    """Runs of zeros, and pieces around the longest block, at every place in the data."""
    zeros = [bytes(n) for n in (0, 1, 2, 253, 254, 255)]
    full = [b"\x01" * n for n in (1, 252, 253, 254, 255, 256, 507, 508, 509, 762)]
    ones = [b"\xff" * n for n in (1, 254, 255)]
    mixed = [bytes(range(256)), bytes(range(255, -1, -1)), b"\x11\x22\x00\x33", b"\x11\x00\x00\x00"]
    around = [before + piece + after for piece in full for before in (b"", b"\0") for after in (b"\0", b"\0\x02")]
    for data in zeros + full + ones + mixed + around:
        yield {"data": data.hex(), "encoded": cobs.encode(data).hex()}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_text(content, encoding="utf-8")
        print(name, content.count("\n"))
