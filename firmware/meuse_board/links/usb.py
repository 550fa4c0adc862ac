"""The board's USB serial port, or whatever the port's REPL uses, as a port for links.uart.

Bytes, never text: a text stream waits for the rest of what looks like a UTF-8 character. One byte at a time, because
reading n bytes waits until there are n.
"""

import select
import sys


class Port:
    def __init__(self):
        self.pollable = sys.stdin
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)

    def read(self, n: int):
        data = b""
        while len(data) < n and self._poll.poll(0):
            byte = sys.stdin.buffer.read(1)
            if not byte:
                break
            data += byte
        return data or None

    def write(self, data: bytes):
        return sys.stdout.buffer.write(data)
