"""Every vector both ways, byte for byte, on both runtimes."""

from binascii import hexlify, unhexlify

from meuse_protocol import auth, cobs, columns, columns_decode, framing, messages, msgpack
from vector_lines import lines, real


def text(data):
    return hexlify(data).decode()


def same(a, b):
    """Equal in value and in kind; 0.0 and -0.0, 1 and True differ."""
    return msgpack.pack(a) == msgpack.pack(b)


def mac_of(vector, record):
    if not vector["key"]:
        return b""
    up, down = auth.direction_keys(unhexlify(vector["key"]), vector["stream"])
    kind = vector["object"][0]
    n = (len(vector["e2e"]) - len(vector["pdu"])) // 2
    key, direction = (up, auth.UP) if kind < 32 else (down, auth.DOWN)
    return auth.mac(key, direction, vector["stream"], record, n)


def test_objects_become_the_vectors_bytes():
    for vector in lines("pdus.jsonl"):
        kind, stream = vector["object"][:2]
        record = messages.record(kind, *real(vector["object"][2:]))
        pdu = messages.splice(record, stream)
        assert text(pdu) == vector["pdu"], vector["name"]
        e2e = pdu + mac_of(vector, record)
        assert text(e2e) == vector["e2e"], vector["name"]
        assert text(framing.frame(e2e)) == vector["wire"], vector["name"]


def test_bytes_become_the_vectors_objects():
    deframer = framing.Deframer(1100)
    for vector in lines("pdus.jsonl"):
        deframer.feed(unhexlify(vector["wire"]))
        kind, e2e = deframer.next()
        assert kind == framing.FRAME and text(e2e) == vector["e2e"], vector["name"]
        assert deframer.next() is None
        tag = (len(vector["e2e"]) - len(vector["pdu"])) // 2
        pdu = messages.parse(e2e, tag)
        messages.check(messages.parse(e2e, tag).fields)  # every vector keeps to its type's shape
        fields = real(vector["object"])
        assert same(pdu.fields[: len(fields)], fields), vector["name"]
        assert all([x is None for x in pdu.fields[len(fields) :]]), vector["name"]
        assert auth.equal(pdu.mac, mac_of(vector, pdu.record)), vector["name"]
        assert text(messages.splice(pdu.record, pdu.stream)) == vector["pdu"], vector["name"]
        assert msgpack.scan(e2e) == len(e2e) - tag
        head = messages.head(e2e)
        assert head[:2] == (pdu.type, pdu.stream)
        assert head[2] == (pdu.seq if messages.is_record(pdu.type) else None)


def test_batches_are_decoded_and_encoded_again():
    encoded = 0
    for vector in lines("pdus.jsonl"):
        if "times" not in vector:
            continue
        fields = real(vector["object"])
        times, values = columns_decode.decode(fields, len(vector["columns"]))
        boot_no = columns_decode.boot_no(fields)
        assert times == vector["times"] and boot_no == vector["boot_no"], vector["name"]
        assert same(values, real(vector["columns"])), vector["name"]
        if vector["made_by_encoder"]:
            rows = [[column[i] for column in values] for i in range(len(times))]
            if fields[0] == messages.SINGLE:
                body = columns.single(fields[3], times[0], rows[0], boot_no)
            else:
                body = columns.encode(fields[3], times, rows, boot_no)
            assert same(body, fields[3:]), vector["name"]
            encoded += 1
    assert encoded > 40


def test_msgpack_vectors():
    for vector in lines("msgpack.jsonl"):
        data, x = unhexlify(vector["hex"]), real(vector["object"])
        if vector["shortest"]:
            assert msgpack.pack(x) == data
        opened = msgpack.unpack(data)
        if isinstance(x, dict):
            assert opened == x
        else:
            assert same(opened, x) and type(opened) is type(x)
        assert msgpack.scan(b"\xc0" + data + b"\xc0", 1) == len(data) + 1


def test_cobs_vectors():
    for vector in lines("cobs.jsonl"):
        data, encoded = unhexlify(vector["data"]), unhexlify(vector["encoded"])
        assert cobs.encode(data) == encoded and b"\0" not in encoded
        assert cobs.decode(encoded) == data
        assert len(encoded) <= len(data) + 1 + len(data) // 254


def test_rfc_4231():
    for vector in lines("hmac.jsonl"):
        whole = auth.hmac(auth.prepare(unhexlify(vector["key"])), unhexlify(vector["data"]))
        assert text(whole[: len(vector["mac"]) // 2]) == vector["mac"]
