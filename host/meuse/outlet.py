"""Standard output and standard error that hold nobody up, whoever reads them, or does not.

A write to a terminal that was stopped with Ctrl-S, to a stalled ssh or to a full pipe waits for as long as
its reader likes. Here a thread of its own does the waiting; the text waits in a bounded buffer meanwhile.
"""

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

# A few screens; who reads no more than that is told afterwards that there was more.
ROOM_BYTES = 64 * 1024

# Less than what the smallest pipe or terminal takes at once, so that any progress is seen.
PIECE_BYTES = 1024

# At the end: a reader that takes nothing for so long does not look any more.
PATIENCE_S = 1.0


class Outlet(io.TextIOBase):
    """A text stream on the descriptor of another; write() never waits and never fails.

    What finds no room is dropped whole and counted. Without a reader (closed terminal, broken pipe)
    everything is dropped: nobody looks, which is no failure.
    """

    def __init__(self, beneath: TextIO) -> None:
        self._fd = beneath.fileno()
        self._encoding = beneath.encoding or "utf-8"
        self._waiting = bytearray()
        self._changed = threading.Condition()
        self.gone = False
        self.dropped = 0  # pieces of text, in all
        self._told = 0
        # A daemon: a reader that stands still must not keep the process from ending.
        threading.Thread(target=self._carry, name=f"output {self._fd}", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    @property
    def busy(self) -> bool:
        """Whether earlier text still waits for its reader."""
        return bool(self._waiting)

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, "replace")
        with self._changed:
            if self.gone or len(self._waiting) + len(data) > ROOM_BYTES:
                self.dropped += 1
            else:
                self._waiting += data
                self._changed.notify_all()
        return len(text)

    def finish(self) -> None:
        """Wait for a reader that still reads; blocks, at the end of everything."""
        with self._changed:
            left = -1
            while self._waiting and len(self._waiting) != left:
                left = len(self._waiting)
                self._changed.wait(PATIENCE_S)

    def _carry(self) -> None:
        while not self.gone:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                piece = bytes(self._waiting[:PIECE_BYTES])
            try:
                sent = os.write(self._fd, piece)
            except BlockingIOError:  # somebody shares the descriptor and made it so
                select.select([], [self._fd], [])
                continue
            except OSError:
                sent, self.gone = 0, True
            with self._changed:
                self._advance(sent)

    def _advance(self, sent: int) -> None:
        del self._waiting[: len(self._waiting) if self.gone else sent]
        if not self._waiting and self.dropped > self._told:
            self._waiting += b"(%d pieces of output dropped: nobody read them)\n" % (self.dropped - self._told)
            self._told = self.dropped
        self._changed.notify_all()


@contextlib.contextmanager
def patient() -> Iterator[Outlet]:
    """For as long as this lasts both standard streams are outlets; gives standard output's."""
    before = sys.stdout, sys.stderr
    outlets = Outlet(sys.stdout), Outlet(sys.stderr)
    for stream in before:
        with contextlib.suppress(OSError):
            stream.flush()
    sys.stdout, sys.stderr = outlets
    try:
        yield outlets[0]
    finally:
        sys.stdout, sys.stderr = before
        for outlet in outlets:
            outlet.finish()
