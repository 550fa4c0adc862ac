"""The vectors: complete, up to date, and read alike by a second decoder and by other libraries."""

from typing import Any

import msgpack
import msgspec
import ormsgpack
import pytest
from meuse_protocol import columns, columns_decode, framing, messages, names

from tests.protocol import naive_decoder as naive
from tests.protocol.vector_files import FOLDER, pdus, read, real, same
from tests.vectors import cases, generate

PDUS = pdus()


def test_the_files_are_what_the_generator_writes() -> None:
    for name, content in generate.files().items():
        assert (FOLDER / name).read_text("utf-8") == content, f"run tests/vectors/generate.py ({name})"
    assert {path.name for path in FOLDER.glob("*.jsonl")} == set(generate.files())


def test_there_are_enough_and_every_type_and_integer_edge_is_there() -> None:
    assert len(PDUS) >= 150
    assert len({vector["name"] for vector in PDUS}) == len(PDUS)
    types = {vector["object"][0] for vector in PDUS}
    assert set(names.TYPES) <= types and set(range(1, 16)) <= types
    results = [v["object"][5:] for v in PDUS if v["object"][0] == messages.RESULT]
    values = {value[0] for value in results if value and type(value[0]) is int}
    assert values >= set(cases.INTEGER_EDGES)


@pytest.mark.parametrize("vector", PDUS, ids=lambda v: v["name"])
def test_a_decoder_written_from_the_specification_reads_every_vector(vector: dict[str, Any]) -> None:
    e2e = naive.open_frame(bytes.fromhex(vector["wire"]))
    assert e2e.hex() == vector["e2e"]
    array, record, mac = naive.open_packet(e2e)
    assert same(array, real(vector["object"]))
    if vector["key"]:
        whole = naive.mac_of(bytes.fromhex(vector["key"]), array[0], vector["stream"], record)
        assert len(mac) >= 4 and whole.startswith(mac)
    else:
        assert mac == b""
    if "times" in vector:
        times, columns, boot_no = naive.rows_of(array)
        assert times == vector["times"] and boot_no == vector["boot_no"]
        assert same(columns, real(vector["columns"]))


def test_the_decoder_from_the_specification_opens_what_is_sealed() -> None:
    for vector in read("sealed.jsonl"):
        opened = naive.open_sealed(bytes.fromhex(vector["key"]), vector["stream"], bytes.fromhex(vector["sealed"]))
        assert opened.hex() == vector["record"]


def test_the_decoder_from_the_specification_puts_parts_together() -> None:
    for vector in read("parts.jsonl"):
        whole, total = b"", None
        for text in vector["parts"]:
            (kind, stream, _, number, part), _, mac = naive.open_packet(bytes.fromhex(text))
            assert stream == vector["stream"] and mac == b"" and len(text) <= 2 * vector["mtu"]
            assert (kind, number) == ((20, total or number) if not whole else (19, len(whole)))
            total = total or number
            whole += part
        assert whole.hex() == vector["whole"] and len(whole) == total


@pytest.mark.parametrize(
    "unpack", [msgpack.unpackb, msgspec.msgpack.decode, ormsgpack.unpackb], ids=["msgpack", "msgspec", "ormsgpack"]
)
def test_other_libraries_open_every_pdu_with_default_options(unpack: Any) -> None:
    for vector in PDUS:
        opened = unpack(bytes.fromhex(vector["pdu"]))
        assert same(list(opened), real(vector["object"])), vector["name"]


def test_large_vectors_both_ways() -> None:
    """Those a board has no room for; tests/shared does the others under both runtimes."""
    for vector in read("pdus_large.jsonl"):
        kind, stream, *body = real(vector["object"])
        pdu = messages.pdu(kind, stream, *body)
        e2e = bytes.fromhex(vector["e2e"])
        assert pdu.hex() == vector["pdu"] and e2e.startswith(pdu)
        assert framing.frame(e2e).hex() == vector["wire"]
        deframer = framing.Deframer(len(e2e))
        deframer.feed(bytes.fromhex(vector["wire"]))
        assert deframer.next() == (framing.FRAME, e2e)
        fields = messages.parse(e2e, len(e2e) - len(pdu)).fields
        assert same(fields, real(vector["object"]))
        if "times" in vector:
            batch = columns_decode.decode(fields)
            assert batch.times == vector["times"] and batch.columns == vector["columns"]
            rows = [list(row) for row in zip(*batch.columns, strict=True)]
            assert same(columns.encode(fields[3], batch.times, rows), fields[3:])
