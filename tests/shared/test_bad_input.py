"""What is broken is refused with the right error and nothing else, before anything is allocated for it."""

from binascii import unhexlify

from meuse_protocol import auth, cobs, columns_decode, messages, msgpack, schema_decode
from meuse_protocol.errors import ContentError, LimitError, LocalError, PacketError, RemoteError
from meuse_protocol.framing import FRAME, Deframer
from vector_lines import Dice, lines

SMALL_BYTES = 90  # vectors up to this size have all their bits flipped on a board as well


def error_of(function, *arguments):
    try:
        function(*arguments)
    except RemoteError as error:
        assert error.reason
        return type(error).__name__
    return None


def test_bad_packets():
    for vector in lines("bad.jsonl"):
        e2e = unhexlify(vector["e2e"])
        assert error_of(messages.parse, e2e) == vector["parse"], vector["name"]
        if vector["name"].startswith("seq"):
            assert error_of(messages.head, e2e) == "PacketError"
        if vector["parse"] is None:
            fields = messages.parse(e2e).fields
            assert error_of(columns_decode.decode, fields) == vector["content"], vector["name"]
            # What is beyond the limits is refused before it is stored, what makes no sense is not.
            limit = "LimitError" if vector["content"] == "LimitError" else None
            assert error_of(columns_decode.check, e2e) == limit, vector["name"]
            assert limit or columns_decode.check(e2e + b"MAC") == len(e2e)


def test_errors_know_their_answer():
    codes = (PacketError("x").code, LimitError("x").code, ContentError("x").code, RemoteError("x").code)
    assert codes == (messages.ERR_PACKET, messages.ERR_LIMIT, messages.ERR_CONTENT, 0)


def test_a_wrong_number_of_channels_is_seen():
    for body in ([5, 10, [1, 2]], [5, 10, [1, 2], [0], b"\x80"]):
        assert error_of(columns_decode.decode, [1, 0, 1, 1, 2] + body, 3) == "ContentError"
    assert error_of(columns_decode.decode, [2, 0, 1, 1, 5, 7], 2) == "ContentError"
    assert error_of(columns_decode.decode, [3, 0, 1, 1, 5, 7]) == "ContentError"


def test_broken_cobs():
    for encoded in (b"\0", b"\x03a\0", b"\x03a", b"\x02a\x05bc", b"\xff" + b"a" * 253, b"\x02a\0"):
        assert error_of(cobs.decode, encoded) == "FrameError", encoded


def test_schemas_that_make_none():
    good = [1, "stove", 1000, [["flue_temp", "Cel", -1]]]
    assert schema_decode.from_body(good).channels == [("flue_temp", "Cel", -1, 0)]
    bad_rows = [[], None, [1], [["a"]], [["a", "b"]], [["a", "b", 19]], [["A", "", 0]], [["a b", "", 0]]]
    bad_rows += [[["", "", 0]], [["a" * 33, "", 0]], [["a", "u" * 17, 0]], [["a", "", 0, -1]], [["a", "", True]]]
    bad_rows += [[["a", "", 0]] * 65]
    for rows in bad_rows:
        assert error_of(schema_decode.from_body, good[:3] + [rows]) == "ContentError", rows
    for i, wrong in ((0, 0), (0, 128), (0, "1"), (1, ""), (1, "St"), (1, None), (2, 0), (2, 3600001), (2, 1.0)):
        body = list(good)
        body[i] = wrong
        assert error_of(schema_decode.from_body, body) == "ContentError", body
    assert error_of(schema_decode.from_body, []) == "ContentError"


def test_misuse_is_local():
    wrong = (
        (msgpack.pack, 2**64),
        (msgpack.pack, -(2**63) - 1),
        (msgpack.pack, {"a": 1}),
        (msgpack.pack, object()),
        (messages.splice, messages.record(18), 128),
        (messages.splice, messages.record(18), 2**31 - 1),
        (messages.splice, messages.record(18), 2**32),
        (messages.splice, messages.record(18), -1),
    )
    for function, *arguments in wrong:
        try:
            function(*arguments)
        except LocalError:
            continue
        raise AssertionError(arguments)


def small_vectors():
    for vector in lines("pdus.jsonl"):
        if len(vector["wire"]) <= 2 * SMALL_BYTES:
            yield vector


def test_no_flipped_bit_passes_the_crc():
    flips = 0
    for vector in small_vectors():
        wire = bytearray(unhexlify(vector["wire"]))
        for bit in range(8 * len(wire)):
            wire[bit >> 3] ^= 1 << (bit & 7)
            deframer = Deframer(1100)
            deframer.feed(bytes(wire) + b"\0")
            while True:
                item = deframer.next()
                if item is None:
                    break
                assert item[0] != FRAME, (vector["name"], bit)
            wire[bit >> 3] ^= 1 << (bit & 7)
            flips += 1
    assert flips > 30000


def test_no_flipped_bit_passes_the_mac():
    flips = 0
    for vector in small_vectors():
        tag = (len(vector["e2e"]) - len(vector["pdu"])) // 2
        if tag:
            e2e = bytearray(unhexlify(vector["e2e"]))
            keys = auth.direction_keys(unhexlify(vector["key"]), vector["stream"])
            for bit in range(8 * len(e2e)):
                e2e[bit >> 3] ^= 1 << (bit & 7)
                assert not authentic(bytes(e2e), vector, keys, tag), (vector["name"], bit)
                e2e[bit >> 3] ^= 1 << (bit & 7)
                flips += 1
            assert authentic(bytes(e2e), vector, keys, tag)
    assert flips > 10000


def authentic(e2e, vector, keys, tag):
    """Whether a receiver that knows one stream, under one name, takes the packet."""
    try:
        pdu = messages.parse(e2e, tag)
    except RemoteError:
        return False
    if pdu.stream != vector["object"][1]:
        return False
    key, direction = (keys[0], auth.UP) if pdu.type < 32 else (keys[1], auth.DOWN)
    return auth.equal(pdu.mac, auth.mac(key, direction, vector["stream"], pdu.record, tag))


def test_mutated_packets_raise_nothing_but_remote_errors():
    dice = Dice(3)
    refused = 0
    for vector in lines("pdus.jsonl"):
        pdu = unhexlify(vector["pdu"])
        if len(pdu) > 400:
            continue
        for _ in range(8):
            refused += open_all(mutated(pdu, dice))
    assert refused > 300


def mutated(data, dice):
    data = bytearray(data)
    for _ in range(1 + dice.below(3)):
        at = dice.below(len(data))
        how = dice.below(4)
        if how == 0:
            data[at] = dice.below(256)
        elif how == 1:
            data[at] ^= 1 << dice.below(8)
        elif how == 2:
            data = data[:at] + data[at + 1 :] + b"\x00"
        else:
            data = data[:at] + bytes((0xC0 + dice.below(32),)) + data[at:]
    return bytes(data)


def open_all(pdu):
    """1 if something refused it; any error that is not a RemoteError gets out."""
    try:
        cobs.decode(pdu)
    except RemoteError:
        pass
    try:
        messages.head(pdu)
        msgpack.scan(pdu)
        fields = messages.parse(pdu).fields
        messages.check(fields)
        if fields[0] == messages.SCHEMA:
            schema_decode.from_body(fields[3:])
        if fields[0] in (messages.DATA, messages.SINGLE):
            columns_decode.decode(fields)
    except RemoteError:
        return 1
    return 0
