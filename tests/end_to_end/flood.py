"""Fifty strangers that say as much as they can, for as long as they live, and come back when sent away.

    python flood.py PORT CONNECTIONS

Prints a line once all have connected, and then one for every time they were sent away a hundred times.
"""

import contextlib
import itertools
import random
import selectors
import socket
import sys

PIECE = 64 * 1024


def main(port: int, connections: int) -> None:
    chance = random.Random(50)
    noises = [b"\n" * PIECE, b"a\n" * (PIECE // 2), b"\x99\x99\x01\0" * (PIECE // 4), chance.randbytes(PIECE)]
    watched = selectors.DefaultSelector()

    def connect(noise: bytes) -> None:
        stranger = socket.create_connection(("127.0.0.1", port), timeout=60)
        stranger.setblocking(False)
        watched.register(stranger, selectors.EVENT_WRITE, noise)

    for _, noise in zip(range(connections), itertools.cycle(noises), strict=False):
        connect(noise)
    print("flooding", flush=True)
    away = 0
    while True:
        for key, _ in watched.select():
            stranger = key.fileobj
            assert isinstance(stranger, socket.socket)
            try:
                stranger.send(key.data)
            except BlockingIOError:
                continue
            except OSError:
                watched.unregister(stranger)
                stranger.close()
                away += 1
                if away % 100 == 0:
                    print(away, flush=True)
                connect(key.data)


with contextlib.suppress(ConnectionError):  # the host has stopped
    main(int(sys.argv[1]), int(sys.argv[2]))
