"""The AT dialogue with a modem: one command at a time, its lines, its final result; never waits for any of them.

Owns the port's bytes and the rules of ITU-T V.250 and 3GPP TS 27.007: echo, result codes, the prompt, blocks of data of
a stated length. Refuses to know what a command is for. Lines that belong to no command (unsolicited result codes) come
out of poll() as they are.
"""

CHUNK = 256  # bytes read at a time
STEP_BYTES = 1024  # and in one step: a modem that never stops must not keep the board from its sensors
LINE_BYTES = 400  # a line of an SMS in hexadecimal has 352; what is longer is noise
BLOCK_BYTES = 1024  # longest block of data
FINAL = (b"OK", b"ERROR", b"SEND OK", b"SEND FAIL", b"NO CARRIER")
FINAL_BEGINS = (b"+CME ERROR", b"+CMS ERROR", b"CONNECT")  # and what, or how fast


class Dialogue:
    """`port`: read(n) and write(bytes) that never wait.

    `code`: None while a command is under way, then b"OK", another final result, or b"" when no answer came in time.
    `answer`: the line that ask() wanted; `data`: the block that followed it.
    """

    def __init__(self, port):
        self._port = port
        self._in = b""
        self._out = b""
        self._then = b""
        self._payload = b""
        self._block = False  # the line that is wanted says how long the data are that follow it
        self._left = 0  # bytes of data that are missing
        self._result = b"OK"
        self._taken = 0
        self._until_ms = 0
        self.code = b"OK"
        self.answer = None
        self.data = b""
        self.noise = 0  # bytes that were no line

    def ask(self, command: bytes, now: int, within_ms: int, then=b"", payload=b"", block=False) -> None:
        """Sends a command. then: it is done when a line that begins so has come too, before or after the result.

        payload: written once the modem prompts for it. block: data follow that line, as many bytes as it begins with.
        """
        self._out = command + b"\r"
        self._then, self._payload, self._block = then, payload, block
        self._left = 0
        self._until_ms = now + within_ms
        self._result = self.code = None
        self.answer = None
        self.data = b""
        self._write()

    def type(self, keys: bytes) -> None:
        """Sends what is no command line, between two of them."""
        self._out = keys
        self._write()

    def forget(self) -> None:
        """What was said so far is of no account: the modem, or this side, begins anew."""
        self._in = self._out = self._payload = b""
        self._left = 0
        self._result = self.code = b""

    def poll(self, now: int):
        """The next line that was not asked for, or None; moves everything."""
        self._write()
        while True:
            line = self._next()
            if line:
                if self.code is not None or not self._belongs(line):
                    return line
            elif self._taken >= STEP_BYTES or not self._read():
                self._taken = 0
                if self.code is None and now >= self._until_ms:
                    self.code = b""
                return None

    @property
    def busy(self) -> bool:
        return self.code is None

    def _read(self) -> bool:
        try:
            data = self._port.read(CHUNK)
        except OSError:
            data = None
        if not data:
            return False
        self._taken += len(data)
        self._in += data
        return True

    def _write(self) -> None:
        if self._out:
            try:
                self._out = self._out[self._port.write(self._out) or 0 :]
            except OSError:
                self._out = b""  # as good as lost on the way

    def _next(self):
        """The next whole line without its end, None when there is none yet; takes data and the prompt on the way."""
        if self._left:
            take = self._in[: self._left]
            self.data += take
            self._in = self._in[len(take) :]
            self._left -= len(take)
            if self._left:
                return None
            self._done()
        while True:
            if self._payload and self._in.lstrip(b"\r\n")[:1] == b">":
                self._in = self._in.lstrip(b"\r\n")[1:].lstrip(b" ")
                self._out, self._payload = self._out + self._payload, b""
                self._write()
            end = self._in.find(b"\n")
            if end < 0:
                if len(self._in) > LINE_BYTES:
                    self.noise += len(self._in)
                    self._in = b""
                return None
            line = self._in[:end].strip()
            self._in = self._in[end + 1 :]
            if len(line) > LINE_BYTES:
                self.noise += len(line)
            elif line:
                return line

    def _belongs(self, line: bytes) -> bool:
        """Whether this line is part of the command under way."""
        if line in FINAL or line.startswith(FINAL_BEGINS):
            self._result = line
            self._done()
        elif self._then and self.answer is None and line.startswith(self._then):
            self.answer = line[len(self._then) :]
            if self._block:
                self._left = min(number(self.answer), BLOCK_BYTES)
            self._done()
        else:
            return line.startswith(b"AT")  # echo, until it is switched off
        return True

    def _done(self) -> None:
        """A refusal ends it at once; else what was wanted must have come too."""
        wrong = self._result not in (None, b"OK", b"SEND OK")
        if wrong or (self._result and not self._left and (self.answer is not None or not self._then)):
            self.code = self._result


def number(text: bytes) -> int:
    """The digits that it begins with."""
    n = 0
    for c in text.strip():
        if not 48 <= c <= 57:
            break
        n = 10 * n + c - 48
    return n
