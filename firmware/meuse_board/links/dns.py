"""Finding a host's address without waiting for it: one question by UDP, asked again a few times, one answer.

getaddrinfo of lwIP waits up to 15 s, longer than the longest watchdog of an RP2: a name server that is down would reset
the board again and again. Names that end in .local are asked of the local network itself (multicast DNS, RFC 6762
section 5.1: a question from a port other than 5353 is answered to that port). IPv4 only, as MicroPython's ports are.
Owns one socket; refuses to know what the address is for.
"""

import socket

AGAIN_MS = 1000
TRIES = 4
MULTICAST = ("224.0.0.251", 5353)


class Lookup:
    """`server`: (address, port) of the name server; `number`: 16 random bits, so that a stranger cannot answer."""

    def __init__(self, name: str, server, number: int, now: int):
        self._number = number & 0xFFFF
        self._question = question(name, self._number)
        self._server = socket.getaddrinfo(*(MULTICAST if name.endswith(".local") else server))[0][-1]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._tries = 0
        self._ask_ms = now

    def step(self, now: int):
        """The address as text when it is known, None before; OSError when nobody answers or nobody knows."""
        try:
            data = self._socket.recv(512)
        except OSError:
            data = b""  # nothing yet
        if data[:2] == self._question[:2] and data[2:3] >= b"\x80":
            address = answer(data)
            self.close()
            if address is None:
                raise OSError("the name server does not know it")
            return address
        if now >= self._ask_ms:
            if self._tries == TRIES:
                self.close()
                raise OSError("no answer from the name server")
            self._tries += 1
            self._ask_ms = now + AGAIN_MS
            self._socket.sendto(self._question, self._server)
        return None

    def close(self) -> None:
        self._socket.close()


def question(name: str, number: int) -> bytes:
    """RFC 1035 section 4.1: one question for the IPv4 address (type A, class IN), recursion desired."""
    labels = b"".join([bytes((len(part),)) + part.encode() for part in name.split(".")])
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def answer(data: bytes):
    """The first IPv4 address in an answer, as text; None when there is none, or when it is no whole answer."""
    try:
        at = 12
        for _ in range(data[5]):  # questions
            at = _after_name(data, at) + 4
        for _ in range(data[7]):  # answers
            at = _after_name(data, at)
            kind, size = data[at + 1], data[at + 8] << 8 | data[at + 9]
            at += 10
            if kind == 1 and size == 4 and data[at - 10] == 0:
                return "%d.%d.%d.%d" % tuple(data[at : at + 4])
            at += size
    except (IndexError, TypeError):
        pass
    return None


def _after_name(data: bytes, at: int) -> int:
    """Where a name ends: at a zero, or after the two bytes of a reference (section 4.1.4)."""
    while data[at]:
        if data[at] >= 0xC0:
            return at + 2
        at += 1 + data[at]
    return at + 1
