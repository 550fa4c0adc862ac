"""Every example of protocol/README.md is computed again, by the package and by the naive decoder."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from meuse.cipher import aes
from meuse_protocol import (
    auth,
    cobs,
    columns_decode,
    framing,
    messages,
    msgpack,
    names,
    quality,
    schema_decode,
    sealing,
)
from meuse_protocol.assembly import Assembly
from meuse_protocol.columns import ESCAPE, MAX_K
from meuse_protocol.fragments import HEAD_BYTES, Fragments
from meuse_protocol.schema import MAX_CHANNELS, MAX_SID

from tests.protocol import naive_decoder as naive
from tests.protocol.vector_files import real, same

README = Path(__file__).resolve().parents[2] / "protocol/README.md"

Example = dict[str, list[str]]


def examples() -> list[Example]:
    """Key -> values, in order, of each block; a key may stand there several times."""
    found = []
    for block in re.findall(r"```example\n(.*?)```", README.read_text("utf-8"), re.DOTALL):
        example: Example = {}
        for line in block.splitlines():
            key, _, value = line.partition(": ")
            example.setdefault(key, []).append(value)
        found.append(example)
    return found


def one(example: Example, key: str) -> str | None:
    return example[key][0] if key in example else None


def raw(example: Example, key: str) -> bytes | None:
    text = one(example, key)
    return None if text is None else bytes.fromhex(text)


EXAMPLES = examples()
PDUS = [example for example in EXAMPLES if "pdu" in example or "e2e" in example]
KEYS = {"name", "object", "msgpack", "record", "pdu", "psk", "stream", "k_up", "k_dn", "e2e", "wire"}
KEYS |= {"whole", "part", "k_enc", "sealed"}
KEYS |= {"cobs", "line", "item", "hash4", "times", "boot_no", "rows"}


def test_there_is_an_example_of_each_part() -> None:
    assert len(EXAMPLES) >= 14
    used = {key for example in EXAMPLES for key in example}
    assert used == KEYS


def test_integers() -> None:
    (example,) = [example for example in EXAMPLES if "msgpack" in example]
    numbers = json.loads(example["object"][0])
    assert msgpack.pack(numbers) == raw(example, "msgpack")
    assert naive.Reader(raw(example, "msgpack") or b"").object() == numbers


@pytest.mark.parametrize("example", PDUS, ids=lambda e: e["name"][0])
def test_packets(example: Example) -> None:
    fields = real(json.loads(example["object"][0]))
    record = messages.record(fields[0], *fields[2:])
    pdu = messages.splice(record, fields[1])
    assert raw(example, "record") in (None, record)
    assert raw(example, "pdu") in (None, pdu)
    assert same(naive.open_packet(pdu)[0], fields)
    e2e = pdu
    if "psk" in example:
        stream = int(example["stream"][0])
        keys = auth.direction_keys(raw(example, "psk") or b"", stream)
        key, direction = (keys[0], auth.UP) if fields[0] < 32 else (keys[1], auth.DOWN)
        e2e += auth.mac(key, direction, stream, record, 8)
        assert e2e == raw(example, "e2e")
    if "wire" in example:
        assert framing.frame(e2e) == raw(example, "wire")
        assert naive.open_frame(raw(example, "wire") or b"") == e2e


def test_derived_keys() -> None:
    (example,) = [example for example in EXAMPLES if "k_up" in example]
    stream = int(example["stream"][0]).to_bytes(4, "big")
    for key, text in (("k_up", b"p1 up"), ("k_dn", b"p1 dn")):
        assert auth.hmac(auth.prepare(raw(example, "psk") or b""), text + stream) == raw(example, key)


def test_parts() -> None:
    (example,) = [example for example in EXAMPLES if "part" in example]
    stream = int(example["stream"][0])
    fields = json.loads(example["object"][0])
    record = messages.record(fields[0], *fields[2:])
    up = auth.direction_keys(raw(example, "psk") or b"", stream)[0]
    whole = record + auth.mac(up, auth.UP, stream, record, 8)
    assert whole == raw(example, "whole")
    parts, assembly = Fragments(HEAD_BYTES + 6), Assembly()
    parts._room = 6  # narrower than any link
    parts._left = [(7, 0, 6), (7, 6, 6), (7, 12, 2)]
    for text in example["part"]:
        packet, _ = parts.next(whole, stream)
        assert packet == bytes.fromhex(text)
        _, _, seq, number, content = messages.parse(packet).fields
        first = packet[1] == messages.FRAG0
        found = assembly.add(seq, number if first else 0, 0 if first else number, content, 0)
    assert found == whole


def test_sealed() -> None:
    (example,) = [example for example in EXAMPLES if "sealed" in example]
    stream, psk = int(example["stream"][0]), raw(example, "psk") or b""
    fields = json.loads(example["object"][0])
    key = sealing.seal_key(psk, stream)
    assert key == raw(example, "k_enc")
    record = messages.record(fields[0], *fields[2:])
    assert sealing.seal(aes(key), stream, record) == raw(example, "sealed")
    assert naive.open_sealed(psk, stream, raw(example, "sealed") or b"") == record


@pytest.mark.parametrize("example", [e for e in EXAMPLES if "rows" in e], ids=lambda e: e["name"][0])
def test_batches(example: Example) -> None:
    fields = messages.parse(raw(example, "pdu") or b"").fields
    boot_no = one(example, "boot_no")
    for found in (columns_decode.decode(fields), naive.rows_of(fields)):
        times, columns = found[0], found[1]
        assert times == json.loads(example["times"][0])
        assert [list(row) for row in zip(*columns, strict=True)] == json.loads(example["rows"][0])
    assert columns_decode.boot_no(fields) == (boot_no and int(boot_no))


def test_cobs() -> None:
    (example,) = [example for example in EXAMPLES if "cobs" in example]
    for line in example["cobs"]:
        data, encoded = (repeated(side) for side in line.split(" -> "))
        assert cobs.encode(data) == encoded
        assert cobs.decode(encoded) == naive.open_cobs(encoded) == data
    assert cobs.decode(b"\xff" + b"\x01" * 254 + b"\x01") == b"\x01" * 254  # the other legal form


def repeated(text: str) -> bytes:
    """`01*254 00` -> 254 times 01, then 00"""
    pieces = [item.partition("*") for item in text.split()]
    return b"".join(bytes.fromhex(byte) * int(count or 1) for byte, _, count in pieces)


def test_text_on_the_line() -> None:
    (example,) = [example for example in EXAMPLES if "line" in example]
    deframer = framing.Deframer(1024)
    deframer.feed(raw(example, "line") or b"")
    for expected in example["item"]:
        kind, content = expected.split(" ", 1)
        item: Any = deframer.next()
        assert item[0] == kind
        assert item[1] == (bytes.fromhex(content) if kind == "frame" else json.loads(content).encode())
    assert deframer.next() is None


def test_schema_hash() -> None:
    (example,) = [example for example in EXAMPLES if "hash4" in example]
    body = json.loads(example["object"][0])[3:]
    hash4 = raw(example, "hash4")
    assert schema_decode.from_body(body).hash4() == hash4
    assert sha256(msgpack.pack(body[1:4])).digest()[:4] == hash4


def test_crc_check_value() -> None:
    assert "`123456789` it is `cbf43926`" in README.read_text("utf-8")
    assert naive.crc32(b"123456789") == 0xCBF43926


def test_every_type_and_code_is_in_the_tables() -> None:
    text = README.read_text("utf-8")
    for kind, name in names.TYPES.items():
        assert f"| {kind} | {name} |" in text
        assert len(names.FIELDS[kind]) >= 2
    named = {name: value for name, value in vars(messages).items() if name.startswith(("GAP_", "ERR_", "NEED_"))}
    assert len(named) == 7 + 6 + 4
    for codes, prefix in ((names.GAP_REASONS, "GAP_"), (names.ERRORS, "ERR_"), (names.NEEDS, "NEED_")):
        highest = max(value for name, value in named.items() if name.startswith(prefix))
        assert len(codes) == highest + 1
    row = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for title, codes in (("BOOT cause", names.BOOT_CAUSES), ("GAP reason", names.GAP_REASONS[1:]),
                         ("ERR code", names.ERRORS[1:]), ("RESULT code", names.RESULTS)):  # fmt: skip
        first = 0 if codes[0] in ("unknown", "done") else 1
        for code in range(first, first + len(codes)):
            assert re.search(rf"\b{code} [a-z]", row[title]), (title, code)
    for name, value in vars(quality).items():
        assert not name.isupper() or f"| {value} | " in text


def test_the_limits_are_the_codes() -> None:
    text = README.read_text("utf-8")
    for what, value in (
        ("nesting", msgpack.MAX_DEPTH),
        ("elements of one array or map", msgpack.MAX_ITEMS),
        ("n", msgpack.MAX_ITEMS),
        ("channels", MAX_CHANNELS),
        ("k", MAX_K),
    ):
        assert f"| {what} | {value:,}" in text
    assert f"sid | 1 to {MAX_SID} " in text and ESCAPE == 20
