"""A card that a person carries: the log as frames in files, and the acknowledgements that come back in others.

Owns the folder, its files, and how far this stream has got on this card: a small file on the card itself says so. An
empty card begins at the oldest record, one that comes back goes on, so each record is written once per card however
long no answer comes. Refuses to know how a record is sealed and what an acknowledgement means. A write that fails ends
its file, since the end of that may be torn; the next file begins, like every one, with HELLO.
"""

import os

from meuse_protocol.carried import packet_of
from meuse_protocol.errors import MeuseError
from meuse_protocol.framing import FRAME, Deframer, frame
from meuse_protocol.msgpack import pack, unpack

from ..loading import load as load_module
from ..stored import load, save
from .backoff import Backoff

LOOK_MS = 5000  # is the card still there, and were acknowledgements brought
LONGEST_MS = 60_000
AGAIN_MS = 20  # between two steps of a long backlog: sampling goes on
STEP_BYTES = 2048
STEP_RECORDS = 64
PIECE_BYTES = 128  # a full heap has no large holes
ACK_PIECES = 32  # of a file of acknowledgements: a hundred streams' worth
ENOENT, ENOMEM, ENOSPC = 2, 12, 28
UNKNOWN = -1


class Link:
    cost = 90
    ordered = True
    up = False  # nobody answers here; a window and its timers are for links where somebody does
    pollable = None

    def __init__(self, settings: dict, hardware, random_u32):
        self._folder = settings["folder"]
        self.name = "file in " + self._folder
        self.mtu = settings.get("max_pdu", 1024)
        self._settings = settings
        self._card = load_module("card").Card(settings) if "slot" in settings else None
        self._random_u32 = random_u32
        self._backoff = Backoff(LOOK_MS, LONGEST_MS, random_u32)
        self._endpoint = self._log = None
        self._there = False  # the card is mounted
        self._next = UNKNOWN  # lowest number not on this card
        self._path = None  # of the file that grows
        self._size = 0
        self._packets = []  # brought by a person, not taken yet
        self._look_ms = self._write_ms = 0
        self.due_ms = 0
        self.problem = ENOENT  # errno of the last failure, 0 while all is well
        self.sent = self.received = self.damaged = self.errors = 0

    def serve(self, endpoint, log) -> None:
        """Whose records go onto the card: `endpoint` seals them, `log` has them."""
        self._endpoint = endpoint
        self._log = log

    def open(self, now: int) -> None:
        pass  # receive() looks for the card

    def close(self, now: int) -> None:
        pass  # what is not on the card is in the log

    def doubt(self, now: int) -> None:
        pass

    def hurry(self, now: int) -> None:
        self._write_ms = self.due_ms = now

    def room(self, now: int) -> bool:
        return False

    def receive(self, now: int):
        if now >= self.due_ms:
            try:
                self._step(now)
                self.problem = 0
            except OSError as problem:
                self._failed(problem.errno, now)
            except MemoryError:
                self._failed(ENOMEM, now)
        return self._packets.pop(0) if self._packets else None

    def words(self) -> str:
        """How it stands, for the technician."""
        if self.problem:
            return "CARD FULL" if self.problem == ENOSPC else "NO CARD, or it does not answer (error %s)" % self.problem
        text = "%d records written, %d not on the card yet, %d acknowledgements read, %d errors"
        behind = self._log.next_seq() - max(self._next, self._log.oldest())
        return text % (self.sent, behind, self.received, self.errors)

    def _step(self, now: int) -> None:
        if now >= self._look_ms:
            self._look_ms = now + LOOK_MS
            self._look(now)
        self.due_ms = self._look_ms
        if now >= self._write_ms:
            if self._write():
                self._write_ms = now + self._settings.get("every_ms", 60_000)
            else:
                self._write_ms = now + AGAIN_MS
        self.due_ms = min(self._look_ms, self._write_ms)

    def _look(self, now: int) -> None:
        """Which card is this, and what was brought on it? OSError: there is none."""
        if not self._there:
            self._there = True  # also half: then it is given back
            if self._card:
                self._card.mount()
        brought = None
        for entry in os.ilistdir(self._folder):
            if entry[0].endswith(".ack"):
                brought = entry[0]
        if brought:
            self._look_ms = now  # there may be more
            self._take(self._folder + "/" + brought)
        marked = self._marked()
        if marked != self._next:
            self._next = marked
            self._path = None

    def _marker(self) -> str:
        return "%s/%s.at" % (self._folder, self._endpoint.device)

    def _marked(self) -> int:
        """How far this stream has got on this card."""
        try:
            stream, after = unpack(load(self._marker()) or b"\x92\0\0")
            return after if stream == self._endpoint.stream else 0
        except (MeuseError, ValueError, TypeError):
            return 0

    def _take(self, path: str) -> None:
        deframer = Deframer(self.mtu + 16, False)
        with open(path, "rb") as f:
            for _ in range(ACK_PIECES):
                deframer.feed(f.read(PIECE_BYTES))
                item = deframer.next()
                while item:
                    if item[0] == FRAME:
                        self.received += 1
                        self._packets.append(item[1])
                    else:
                        self.damaged += 1
                    item = deframer.next()
        os.remove(path)

    def _write(self) -> bool:
        """Some of what is not on the card -> whether that was all."""
        seq, end = max(self._next, self._log.oldest()), self._log.next_seq()
        if seq >= end:
            return True
        if not self._path:
            self._begin(seq)
        elif os.stat(self._path)[6] != self._size:
            raise OSError(ENOENT)  # emptied by a person, or another card: nothing may be added without HELLO
        last = min(end, seq + STEP_RECORDS)
        written = 0
        with open(self._path, "ab") as f:
            if not self._size:
                written = f.write(b"\0" + frame(self._endpoint.hello(self.mtu, self._random_u32())))
            while seq < last and written < STEP_BYTES:
                e2e = packet_of(self._endpoint, self._log, seq)
                if not e2e and self._log.search[0] <= 0:
                    break  # perhaps behind a damaged place that is not looked through yet
                if e2e:  # else acknowledged meanwhile, or lost: a GAP says so
                    written += f.write(frame(e2e))
                    self.sent += 1
                seq += 1
        self._size += written
        self._next = seq
        self._backoff.reset()
        save(self._marker(), pack([self._endpoint.stream, seq]))
        if self._size >= self._settings.get("max_bytes", 1 << 20):
            self._path = None
        return seq >= end

    def _begin(self, seq: int) -> None:
        """A new file, called after its first record; never one that is there, which may hold what the log forgot."""
        self._size = 0
        stem = "%s/%s-%08x-%08d" % (self._folder, self._endpoint.device, self._endpoint.stream, seq)
        self._path = stem + ".frames"
        again = 1
        while _exists(self._path):
            again += 1
            self._path = "%s-%d.frames" % (stem, again)

    def _failed(self, code, now: int) -> None:
        """The card is out, full or broken: everything about it is found out anew."""
        self.errors += 1
        self.problem = code
        try:
            if self._path and not self._size:
                os.remove(self._path)  # else every attempt on a full card leaves a file
        except OSError:
            pass
        try:
            if self._there and code != ENOSPC:
                self._there = False
                if self._card:
                    self._card.unmount()
        except OSError:
            pass
        self._path = None
        self._next = UNKNOWN
        self._look_ms = self._write_ms = self.due_ms = now + (self._backoff.next_ms() if code == ENOSPC else LOOK_MS)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
        return True
    except OSError as problem:
        if problem.errno != ENOENT:
            raise
        return False
