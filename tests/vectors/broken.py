"""Vectors for what is not a well-made PDU: RFC 4231, lines with text and damage, bad packets.

The reactions here are written by hand from the specification, not computed.
"""

from typing import Any

from meuse_protocol import messages as m
from meuse_protocol.framing import frame
from meuse_protocol.msgpack import pack

T0 = 1761955200


def rfc4231() -> list[dict[str, str]]:
    """RFC 4231, section 4; case 5 is cut to 128 bits there."""
    long_key = b"\xaa" * 131
    ordinary = bytes(range(1, 26))
    cases = [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (ordinary, b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            long_key,
            b"This is a test using a larger than block-size key and a larger than block-size data. "
            b"The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ]
    return [{"key": key.hex(), "data": data.hex(), "mac": mac} for key, data, mac in cases]


def lines() -> list[dict[str, Any]]:
    """What a receiver that takes E2Es of 64 bytes makes of bytes on a line with text."""
    ping = m.pdu(m.PING, 0)
    gap = m.pdu(m.GAP, 0x80000001, 7, 3, 6, 2)
    p, g = frame(ping), frame(gap)
    is_ping, is_gap = ["frame", ping.hex()], ["frame", gap.hex()]

    def text(line: str) -> list[str]:
        return ["text", line]

    def damage(reason: str) -> list[str]:
        return ["damage", reason]

    flipped = bytes([g[0], g[1], g[2] ^ 1]) + g[3:]
    to_text = bytes([g[0], g[1] & 0x7F]) + g[2:]
    most = m.pdu(15, 0, 1, b"\x00" * 58)
    above = m.pdu(15, 0, 1, b"\x00" * 59)
    assert len(most) == 64
    cases: list[tuple[str, bytes, list[list[str]]]] = [
        ("nothing", b"", []),
        ("empty frames", b"\0\0\0", []),
        ("a frame", p, [is_ping]),
        ("frames back to back", p + g + p, [is_ping, is_gap, is_ping]),
        ("leading zeros", b"\0\0" + p + b"\0" + g, [is_ping, is_gap]),
        ("no end yet", p + g[:-1], [is_ping]),
        ("text by CR, LF, CRLF", b"one\rtwo\nthree\r\nfour\r\n", [text(x) for x in ("one", "two", "three", "four")]),
        ("empty lines", b"\r\rx\n\ny\r\n\r\nz\r", [text(x) for x in ("", "", "x", "", "y", "", "z")]),
        ("Enter between frames", p + b"\r\r" + b"\0" + p, [is_ping, text(""), text(""), is_ping]),
        ("text ended by a zero", b"meuse> \0" + p, [text("meuse> "), is_ping]),
        ("one letter", b"x\0" + p, [text("x"), is_ping]),
        ("boot text", b"\x1b[0;32mI (31) boot\x1b[0m\r\n\0" + p, [text("\x1b[0;32mI (31) boot\x1b[0m"), is_ping]),
        ("backspace and tab", b"helq\x08p\tx\x7f\r", [text("helq\x08p\tx\x7f")]),
        ("frame right after a line", b"text\r\n" + p, [text("text"), is_ping]),
        ("frame right after CR", b"text\r" + g, [text("text"), is_gap]),
        ("text without end, frame lost", b"text" + p + g, [damage("not text"), is_gap]),
        ("letters outside ASCII", "gr\u00fcn\r".encode() + b"\0" + p, [damage("not text"), is_ping]),
        ("control byte in text", b"a\x03b\r\0" + p, [damage("not text"), is_ping]),
        ("a flipped bit", flipped + p, [damage("crc"), is_ping]),
        ("the header's top bit flipped", to_text + p, [damage("not text"), damage("not text"), is_ping]),
        ("a zero lost", p[:-1] + g + p, [damage("crc"), is_ping]),
        ("a zero inserted", g[:9] + b"\0" + g[9:] + p, [damage("cobs"), damage("not text"), is_ping]),
        ("COBS block too long", b"\x05\x92\x12\0" + p, [damage("cobs"), is_ping]),
        ("one byte", b"\x92\0" + p, [damage("not text"), is_ping]),
        ("empty E2E", b"\xff\xff\0" + p, [damage("cobs"), is_ping]),
        ("E2E of two bytes", frame(b"\x92\x12") + p, [damage("crc"), is_ping]),
        ("second byte 80", b"\x05\x80abc\0" + p, [damage("crc"), is_ping]),
        ("LF after a frame is Enter", b"x\r" + p + b"\nok\r", [text("x"), is_ping, text(""), text("ok")]),
        ("CRC alone", b"\x02\x92\x01\x01\x01\0" + p, [damage("crc"), is_ping]),
        ("E2E as long as allowed", frame(most) + p, [["frame", most.hex()], is_ping]),
        ("E2E one too long", frame(above) + p, [damage("too long"), is_ping]),
        ("frame without end", b"\x92\x92" + b"\x92" * 300 + b"\0" + p, [damage("too long"), is_ping]),
        ("text without end", b"x" * 300 + b"\r\n\0" + p, [damage("too long"), is_ping]),
    ]
    return [{"name": name, "line": line.hex(), "items": items} for name, line, items in cases]


def packets() -> list[dict[str, Any]]:
    """E2E (without MAC) -> the error of `parse`, or, for records that parse, of decoding them."""
    at_parse: list[tuple[str, bytes, str]] = [
        ("nothing", b"", "PacketError"),
        ("an int", b"\x01\x02\x03", "PacketError"),
        ("an empty array", b"\x90\x00\x00", "PacketError"),
        ("array of one", b"\x91\x12\x00", "PacketError"),
        ("array32 header", b"\xdd\x00\x00\x00\x02\x12\x00", "PacketError"),
        ("a map", b"\x81\xa1a\x01", "PacketError"),
        ("type 128", b"\x92\xcc\x80\x00", "PacketError"),
        ("type as str", b"\x92\xa1a\x00", "PacketError"),
        ("negative type", b"\x92\xff\x00", "PacketError"),
        ("type in a longer form", b"\x92\xcc\x12\x00", "PacketError"),
        ("stream 128", b"\x92\x12\xcc\x80", "PacketError"),
        ("stream below 2^31", b"\x92\x12\xce\x7f\xff\xff\xff", "PacketError"),
        ("stream cut", b"\x92\x12\xce\x80\x00", "PacketError"),
        ("stream as nil", b"\x92\x12\xc0", "PacketError"),
        ("trailing byte", b"\x92\x12\x00\x00", "PacketError"),
        ("element missing", b"\x94\x08\x00\x01", "PacketError"),
        ("record without seq", b"\x92\x01\x00", "PacketError"),
        ("seq 0", b"\x93\x01\x00\x00", "PacketError"),
        ("seq negative", b"\x93\x01\x00\xff", "PacketError"),
        ("seq true", b"\x93\x01\x00\xc3", "PacketError"),
        ("seq 2^32", b"\x93\x01\x00" + pack(2**32), "PacketError"),
        ("seq as float", b"\x93\x01\x00" + pack(1.0), "PacketError"),
        ("seq as str", b"\x93\x01\x00\xa11", "PacketError"),
        ("byte c1", b"\x94\x0f\x00\x01\xc1", "PacketError"),
        ("str beyond the end", b"\x94\x0f\x00\x01\xdb\xff\xff\xff\xff", "PacketError"),
        ("bin beyond the end", b"\x94\x0f\x00\x01\xc6\x7f\xff\xff\xff", "PacketError"),
        ("int cut", b"\x94\x0f\x00\x01\xcf\x00", "PacketError"),
        ("float cut", b"\x94\x0f\x00\x01\xcb\x00", "PacketError"),
        ("array beyond the end", b"\x94\x0f\x00\x01\xdc\x04\x00", "PacketError"),
        ("not UTF-8", b"\x94\x0f\x00\x01\xa2\xff\xfe", "PacketError"),
        ("array of 1,025", b"\x94\x0f\x00\x01\xdc\x04\x01" + b"\xc0" * 1025, "LimitError"),
        ("array of 2^32-1", b"\x94\x0f\x00\x01\xdd\xff\xff\xff\xff", "LimitError"),
        ("map of 2^32-1", b"\x94\x0f\x00\x01\xdf\xff\xff\xff\xff", "LimitError"),
        ("five deep", b"\x94\x0f\x00\x01\x91\x91\x91\x91\x00", "LimitError"),
        ("ext", b"\x94\x0f\x00\x01\xc7\x01\x05\x00", "LimitError"),
        ("fixext", b"\x94\x0f\x00\x01\xd4\x05\x00", "LimitError"),
        ("map with an int key", b"\x94\x0f\x00\x01\x81\x01\x02", "LimitError"),
        ("ack without cum", m.pdu(m.ACK, 0), "ContentError"),
        ("ack with cum as str", m.pdu(m.ACK, 0, "1"), "ContentError"),
        ("ack with cum true", m.pdu(m.ACK, 0, True), "ContentError"),
        ("ack with a negative window", m.pdu(m.ACK, 0, 1, -1), "ContentError"),
        ("hello with a nonce too large", m.pdu(m.HELLO, 0, 16, 0, 1, 1, 64, 4, "a", [], 2**32), "ContentError"),
        ("hello without device", m.pdu(m.HELLO, 0, 16, 0, 1, 1, 64, 4, None, [], 1), "ContentError"),
        ("time as float", m.pdu(m.TIME, 0, 1, 1.5, 0), "ContentError"),
        ("cmd with op as bin", m.pdu(m.CMD, 0, 1, [1, 1], b"on"), "ContentError"),
    ]
    found = [{"name": name, "e2e": e2e.hex(), "parse": error} for name, e2e, error in at_parse]
    for name, body, error in _contents():
        kind, *rest = body
        found.append({"name": name, "e2e": m.pdu(kind, 0, *rest).hex(), "parse": None, "content": error})
    return found


def _contents() -> list[tuple[str, list[Any], str]]:
    """Records that are stored whatever they hold, but make no sense."""
    data = [m.DATA, 1, 1]
    return [
        ("n = 1,025", [*data, 1025, T0, 10, [1]], "LimitError"),
        ("n = 2^31, no columns", [*data, 2**31, T0, 10, [1]], "LimitError"),
        ("65 channels", [*data, 2, T0, 10, [1] * 65], "LimitError"),
        ("65 columns", [*data, 2, T0, 10, [1], [[1]] * 65], "LimitError"),
        ("k = 31", [*data, 2, T0, 10, [1], [31], b"\0" * 8], "LimitError"),
        ("k = 31 for the times", [*data, 3, T0, [10, 31], [1], [], b"\0" * 8], "LimitError"),
        ("k with bit 5", [*data, 2, T0, 10, [1], [32], b"\x80"], "LimitError"),
        ("65 values", [m.SINGLE, 1, 1, T0, *([1] * 65)], "LimitError"),
        ("n = 0", [*data, 0, T0, 10, [1]], "ContentError"),
        ("n negative", [*data, -1, T0, 10, [1]], "ContentError"),
        ("n nil", [*data, None, T0, 10, [1]], "ContentError"),
        ("sid 0", [m.DATA, 1, 0, 2, T0, 10, [1]], "ContentError"),
        ("sid 128", [m.DATA, 1, 128, 2, T0, 10, [1]], "ContentError"),
        ("t0 as float", [*data, 2, 1.5, 10, [1]], "ContentError"),
        ("t0 beyond 63 bits", [*data, 2, 2**63, 10, [1]], "ContentError"),
        ("times run out", [*data, 2, 2**63 - 1, 10, [1]], "ContentError"),
        ("times below 0", [*data, 2, 5, -10, [1]], "ContentError"),
        ("no boot", [*data, 2, -5, 10, [1]], "ContentError"),
        ("boot as str", [*data, 2, -5, 10, [1], [], None, "1"], "ContentError"),
        ("dt nil", [*data, 2, T0, None, [1]], "ContentError"),
        ("dt of three", [*data, 2, T0, [10, None, 1], [1]], "ContentError"),
        ("lateness missing", [*data, 2, T0, [10, [None]], [1]], "ContentError"),
        ("base nil", [*data, 2, T0, 10, None], "ContentError"),
        ("base empty", [*data, 2, T0, 10, []], "ContentError"),
        ("base with [0]", [*data, 2, T0, 10, [[0]]], "ContentError"),
        ("base with [-128]", [*data, 2, T0, 10, [[-128]]], "ContentError"),
        ("base with a run", [*data, 2, T0, 10, [[3]]], "ContentError"),
        ("base beyond 64 bits", [*data, 2, T0, 10, [2**63]], "ContentError"),
        ("columns as int", [*data, 2, T0, 10, [1], 7], "ContentError"),
        ("more columns than channels", [*data, 2, T0, 10, [1], [None, None]], "ContentError"),
        ("column as str", [*data, 2, T0, 10, [1], ["x"]], "ContentError"),
        ("k true", [*data, 2, T0, 10, [1], [True], b"\x80"], "ContentError"),
        ("k negative", [*data, 2, T0, 10, [1], [-1], b"\x80"], "ContentError"),
        ("packed on a missing base", [*data, 2, T0, 10, [None], [0], b"\x80"], "ContentError"),
        ("list too long", [*data, 2, T0, 10, [1], [[1, 1]]], "ContentError"),
        ("run too long", [*data, 3, T0, 10, [1], [[[3]]]], "ContentError"),
        ("run of 2^31", [*data, 3, T0, 10, [1], [[[2**31]]]], "ContentError"),
        ("run of 0", [*data, 3, T0, 10, [1], [[[0]]]], "ContentError"),
        ("run of two numbers", [*data, 3, T0, 10, [1], [[[1, 1]]]], "ContentError"),
        ("run true", [*data, 3, T0, 10, [1], [[[True]]]], "ContentError"),
        ("value beyond 63 bits", [*data, 2, T0, 10, [2**62], [[2**63]]], "ContentError"),
        ("packed beyond 63 bits", [*data, 2, T0, 10, [2**63 - 1], [1], b"\x20"], "ContentError"),
        ("no bits", [*data, 2, T0, 10, [1], [0]], "ContentError"),
        ("bits as str", [*data, 2, T0, 10, [1], [0], "x"], "ContentError"),
        ("bits too short for remainders", [*data, 9, T0, 10, [1], [7], b"\x01\x02"], "ContentError"),
        ("quotient without end", [*data, 2, T0, 10, [1], [0], b"\0\0"], "ContentError"),
        ("quotient of 21", [*data, 2, T0, 10, [1], [0], b"\0\0\x04"], "ContentError"),
        ("escape cut", [*data, 2, T0, 10, [1], [0], b"\0\0\x08\xff\xff\xff"], "ContentError"),
        ("8 bits left over", [*data, 2, T0, 10, [1], [0], b"\x80\0"], "ContentError"),
        ("bits without a packed column", [*data, 2, T0, 10, [1], [], b"\0"], "ContentError"),
        ("padding not zero", [*data, 2, T0, 10, [1], [0], b"\x81"], "ContentError"),
        ("no values", [m.SINGLE, 1, 1, T0], "ContentError"),
        ("single without boot", [m.SINGLE, 1, 1, -5, None], "ContentError"),
        ("single with a run", [m.SINGLE, 1, 1, T0, [2]], "ContentError"),
        ("single without anything", [m.SINGLE, 1], "ContentError"),
    ]
