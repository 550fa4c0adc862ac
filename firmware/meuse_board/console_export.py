"""The backlog as lines of text, for who has a cable and no host: any terminal program can save them.

Hexadecimal, since few terminal programs keep raw bytes as they are; the colon tells them from other text.
`meuse import` reads the capture as it is, with all that was typed and said around it. Nothing is forgotten by this.
"""

import os
from binascii import hexlify

from meuse_protocol.carried import packet_of
from meuse_protocol.framing import frame


def answer(name: str, app, link, words):
    log, endpoint = app.log, app.endpoints[0]
    yield "%d records follow, each in a line that begins with a colon; save them in a file" % log.backlog()
    yield _line(endpoint.hello(link.mtu, int.from_bytes(os.urandom(4), "big")))
    for seq in range(log.oldest(), log.next_seq()):
        e2e = packet_of(endpoint, log, seq)
        while not e2e and log.search[0] <= 0:  # perhaps behind a damaged place: looked through little by little
            yield "..."
            e2e = packet_of(endpoint, log, seq)
        if e2e:
            yield _line(e2e)
    yield "that is all; next: meuse import FILE"


def _line(e2e: bytes) -> str:
    return ":" + hexlify(frame(e2e)).decode()
