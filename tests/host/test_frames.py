"""What captured bytes say: frames, text and damage, each with its place."""

import json
from pathlib import Path

import pytest
from meuse.errors import ConfigError
from meuse.frames import capture, frames, packet
from meuse_protocol import messages as m
from meuse_protocol import names
from meuse_protocol.framing import frame

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
BATCH = m.pdu(m.DATA, 0, 1000, 1, 3, 50, 10, [249, None], [[1, 2], [[-3]]])


def vectors() -> list[dict[str, object]]:
    return [json.loads(line) for line in (VECTORS / "pdus.jsonl").read_text("utf-8").splitlines()]


def test_a_capture_in_order_with_offsets() -> None:
    ping = frame(m.pdu(m.PING, 0))
    data = b"boot\r\n\0" + ping + b"> \0" + b"\0" + ping[:4] + b"\x00" + frame(BATCH) + b"\x05\x92"
    found = list(frames(data))
    assert [(item["offset"], item["kind"]) for item in found] == [
        (0, "text"),
        (7, "frame"),
        (16, "text"),
        (20, "damage"),
        (25, "frame"),
        (25 + len(frame(BATCH)), "damage"),
    ]
    assert found[0]["text"] == "boot" and found[2]["text"] == "> "
    assert found[1]["type"] == "PING" and found[1]["stream"] == 0 and found[1]["mac"] == ""
    assert found[3]["reason"] == "cobs" and found[3]["hex"] == ping[:4].hex()
    assert found[5]["reason"] == "the capture ends before the closing zero"


def test_a_batch_is_shown_with_its_rows_as_raw_integers() -> None:
    said = packet(BATCH)
    assert said["type"] == "DATA" and said["seq"] == 1000 and said["sid"] == 1 and said["n"] == 3
    assert said["times"] == [50, 60, 70]
    assert said["rows"] == [[249, None], [250, [-3]], [252, [-3]]]
    assert "boot_no" not in said or said["boot_no"] is None


def test_a_batch_that_makes_no_sense_is_shown_all_the_same() -> None:
    said = packet(m.pdu(m.DATA, 0, 1, 1, 2, 50, 10, [1], [0]))
    assert said["kind"] == "frame" and said["undecodable"] == "bits too short" and said["base"] == [1]


def test_elements_have_names_and_codes_have_words() -> None:
    gap = packet(m.pdu(m.GAP, 0x80000001, 7, 3, 6, m.GAP_POWER_CUT) + b"\x01" * 8)
    assert gap == {
        "kind": "frame",
        "type": "GAP",
        "bytes": 19,
        "stream": 0x80000001,
        "seq": 7,
        "first": 3,
        "last": 6,
        "reason": 2,
        "means": "power cut",
        "mac": "01" * 8,
    }
    ack = packet(m.pdu(m.ACK, 0, 5, None, True, 2, 3, 1, 1))
    assert ack["cum"] == 5 and ack["more"] is True and ack["ranges"] == [[2, 3], [1, 1]]
    assert packet(m.pdu(m.SINGLE, 0, 9, 1, -42, 7, [-3], 3))["boot_no"] == 3
    assert packet(m.pdu(m.ERR, 0, 99))["code"] == 99
    assert packet(m.pdu(100, 0, 1))["type"] == 100
    assert packet(m.pdu(12, 0, 1, "later"))["more_elements"] == ["later"]


def test_damage_after_the_crc_has_a_reason() -> None:
    assert packet(b"\x92\x12\xc0")["reason"] == "PacketError: stream"
    assert packet(b"\x94\x0f\x00\x01\x91\x91\x91\x91\x00")["reason"].startswith("LimitError")
    assert packet(m.pdu(m.PING, 0) + bytes(17))["kind"] == "damage"
    assert packet(m.pdu(m.ACK, 0, "1"))["reason"] == "ContentError: element 2"


def test_every_vector_is_shown_and_fit_for_json() -> None:
    wires = b"".join(bytes.fromhex(str(vector["wire"])) for vector in vectors())
    found = list(frames(wires))
    assert [item["kind"] for item in found] == ["frame"] * len(vectors())
    text = json.dumps(found, allow_nan=False)
    assert {item["type"] for item in json.loads(text)} >= set(names.TYPES.values())
    for item, vector in zip(found, vectors(), strict=True):
        if "times" in vector:
            assert item["times"] == vector["times"], vector["name"]


@pytest.mark.parametrize(
    "text",
    ["03 92 12 05 5f c5 22 79 00", "0392 1205\n5FC52279 00\n", "0x03,0x92,0x12,0x05,0x5f,0xc5,0x22,0x79,0x00",
     "03:92:12:05:5f:c5:22:79:00"],
)  # fmt: skip
def test_hexadecimal_is_recognised(text: str) -> None:
    (item,) = frames(capture(text.encode()))
    assert item["type"] == "PING"


def test_bytes_that_only_look_like_text_stay_bytes() -> None:
    ping = frame(m.pdu(m.PING, 0))
    assert capture(ping) == ping and capture(b"help\r\n") == b"help\r\n" and capture(b"") == b""
    assert capture(b" \n") == b" \n"
    with pytest.raises(ConfigError, match="middle of a byte"):
        capture(b"03 92 1")


def test_an_unfinished_line_is_text() -> None:
    assert list(frames(b"meuse> ")) == [{"offset": 0, "kind": "text", "text": "meuse> ", "unfinished": True}]
    assert list(frames(b"")) == []


def test_offsets_do_not_depend_on_lone_line_ends() -> None:
    found = list(frames(b"\rhelp\r\n\rx\r"))
    assert [(item["offset"], item["text"]) for item in found] == [(0, ""), (1, "help"), (7, ""), (8, "x")]
