"""The packets of MQTT 3.1.1 (OASIS standard, October 2014) that a board sends, and a reader of those that come.

Pure: bytes in and out, no socket, no clock. What is read is bounded: of a packet that is too long only the beginning
is kept, the rest is passed over as it comes.
"""

CONNACK = 2
PUBLISH = 3
PUBACK = 4
SUBACK = 9
PING = b"\xc0\0"
NOT_MQTT = "who answers does not speak MQTT"
HEAD_MAX = 5  # type and flags, then a length in one to four bytes (2.2.3)


class Reader:
    """feed() bytes in any pieces, next() gives packets. longest: bytes after the fixed header that are kept.

    begin: so many are kept of a packet that is longer.
    """

    def __init__(self, longest: int, begin: int):
        self._longest = longest
        self._begin = begin
        self._data = b""
        self._first = 0  # of the packet whose body is being read; 0: between two packets
        self._left = 0
        self._room = 0  # bytes of it that are still kept
        self._whole = True
        self._body = b""

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self):
        """(type and flags, body, whether that is all of it), or None. OSError: this is not MQTT."""
        if not self._first and not self._header():
            return None
        taken = self._data[: self._left]
        self._data = self._data[len(taken) :]
        self._left -= len(taken)
        self._body += taken[: self._room]
        self._room -= min(self._room, len(taken))
        if self._left:
            return None
        packet = self._first, self._body, self._whole
        self._first = 0
        self._body = b""
        return packet

    def _header(self) -> bool:
        data = self._data[:HEAD_MAX]
        size = 0
        for i in range(1, len(data)):
            size |= (data[i] & 127) << 7 * (i - 1)
            if data[i] < 128:
                if data[0] < 16:
                    break  # type 0 is forbidden
                self._first = data[0]
                self._data = self._data[i + 1 :]
                self._left = size
                self._whole = size <= self._longest
                self._room = size if self._whole else self._begin
                return True
        if len(data) == HEAD_MAX or (data and data[0] < 16):
            raise OSError(NOT_MQTT)
        return False


def text(words: str) -> bytes:
    data = words.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first: int, *parts) -> bytes:
    """Fixed header and parts; at most 16,383 bytes in all."""
    size = sum([len(part) for part in parts])
    length = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    return bytes((first,)) + length + b"".join(parts)


def connect(client: str, keep_alive_s: int, will_topic: str, user: str, password: str) -> bytes:
    """3.1: a clean session, with an empty message to will_topic, QoS 0, as its last will. "" for user: none."""
    flags = 0x06
    parts = [text(client), text(will_topic), b"\0\0"]
    if user:
        flags |= 0xC0
        parts += [text(user), text(password)]
    return packet(0x10, b"\0\4MQTT\4", bytes((flags,)), keep_alive_s.to_bytes(2, "big"), *parts)


def subscribe(number: int, topic: str) -> bytes:
    """3.8, at most QoS 1."""
    return packet(0x82, number.to_bytes(2, "big"), text(topic), b"\1")


def publish(topic: str, number: int, payload: bytes) -> bytes:
    """3.3, QoS 1."""
    return packet(0x32, text(topic), number.to_bytes(2, "big"), payload)


def published(first: int, body: bytes):
    """What came with PUBLISH: (packet identifier in two bytes, b"" with QoS 0; where the payload begins)."""
    at = 2 + int.from_bytes(body[:2], "big")
    if first & 6:
        return body[at : at + 2], at + 2
    return b"", at


def puback(number: bytes) -> bytes:
    """3.4."""
    return packet(0x40, number)
