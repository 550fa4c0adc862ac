"""The board's log: the stream of numbered records, in RAM until due, then in segments on littlefs.

Owns: numbering, what is flushed when, what is forgotten. Refuses to know what a record says (but
for the kinds that must outlive a dropped segment), who sends it, and what time it is.

Promises, also when power fails inside any operation of the flash: a flushed record is there until
it is acknowledged or announced as dropped; a number is never used twice; what is missing is
announced by a GAP record. Numbers are reserved in flash ahead of their use; an unclean boot goes on
at the reserved edge. An OSError never leaves this class: it is counted, and the records stay in
RAM, up to a bound.
"""

import os

from meuse_protocol.messages import (
    ANCHOR,
    BOOT,
    GAP,
    GAP_CORRUPT,
    GAP_LOG_FULL,
    GAP_POWER_CUT,
    SCHEMA,
    record,
)
from meuse_protocol.msgpack import pack

from .log_layout import numbered, read_head, segments, walk, write_frames, write_head

ENOENT, EEXIST, ENOSPC = 2, 17, 28
RETRY_MS = 5000  # between attempts on a flash that failed
ANNOUNCED = 16  # corrupt ranges remembered; one forgotten may be announced again: harmless


class FlashLog:
    """The log in `folder`, opened (or made) at once; when flash does not answer it is in RAM only.

    random_u32() gives 32 random bits for the id of a new stream. Bounds: `max_segments` of
    `segment_bytes` each on flash (one more while the oldest makes way), four `flush_bytes` of RAM.
    """

    def __init__(
        self,
        folder: str,
        random_u32,
        reserve: int = 64,
        segment_bytes: int = 8192,
        max_segments: int = 24,
        flush_records: int = 32,
        flush_bytes: int = 2048,
        flush_age_ms: int = 60000,
    ):
        self._folder = folder
        self._reserve = reserve
        self._segment_bytes = segment_bytes
        self._max_segments = max_segments
        self._flush_records = flush_records
        self._flush_bytes = flush_bytes
        self._flush_age_ms = flush_age_ms
        self._tail = []  # (seq, record), not flushed
        self._tail_bytes = 0
        self._tail_since_ms = None  # None: not seen by a tick yet
        self._retry_at_ms = None
        self._refused = None  # [first, last] numbered and not kept: RAM was full
        self._condemned = 0  # first seq of the segment that makes way
        self._lost = []  # [first, last, announced] corrupt ranges
        self._at = (0, 0, 0)  # reading goes on here: segment, byte, seq before it
        self._size = 0  # of the newest segment; 0: begin a new one
        self._flushed = 0  # highest seq on flash
        self.flushes = self.errors = self.refused = self.dropped = self.corrupt = 0
        self.volatile = False
        try:
            self._open(random_u32)
        except OSError:
            self.errors += 1
            self.volatile = True  # a stream of its own; what is on flash stays as it is
            self.stream = random_u32() | 0x80000000
            self.boot_no = self._cum = self._next = 1
            self._edge = 0xFFFFFFFF
            self._segments = []

    # -- what an endpoint asks

    def next_seq(self) -> int:
        """The number that the next record will have."""
        return self._next

    def oldest(self) -> int:
        """The lowest number not known to be acknowledged; from here on all is kept or in a GAP."""
        return self._cum

    def backlog(self) -> int:
        """How many numbers wait for their acknowledgement."""
        return self._next - self._cum

    def get(self, seq: int):
        """The record, or None: acknowledged, dropped or corrupt (a GAP says so), or unreadable."""
        for number, kept in self._tail:
            if number == seq:
                return kept
        if seq > self._flushed:
            return None
        first, after = 0, self._flushed + 1
        for begin in self._segments:
            if begin > seq:
                after = begin
                break
            first = begin
        if not first:
            return None
        try:
            return self._read(seq, first, after)
        except OSError:
            self.errors += 1
            return None

    def acked(self, cum: int, ranges=()) -> None:
        """All below `cum` and in `ranges` [(first, last)] is stored elsewhere. Writes no flash."""
        self._cum = max(self._cum, min(cum, self._next))
        if not self._tail:
            return
        kept = []
        size = 0
        for pair in self._tail:
            seq = pair[0]
            if seq >= self._cum and not any([a <= seq <= b for a, b in ranges]):
                kept.append(pair)
                size += len(pair[1])
        self._tail = kept
        self._tail_bytes = size
        if not kept:
            self._tail_since_ms = None

    # -- what the application does

    def append(self, kind: int, body, urgent: bool = False):
        """Keeps a record -> its seq; None when there was no room for it: counted and announced."""
        if self._tail_bytes >= 2 * self._flush_bytes or len(self._tail) >= 2 * self._flush_records:
            self.flush()
        if self._tail_bytes >= 4 * self._flush_bytes:
            self.refused += 1
            seq = self._number()
            if seq:
                self._refused = [self._refused[0] if self._refused else seq, seq]
            return None
        if self._refused and self._keep(GAP, self._refused + [GAP_LOG_FULL]):
            self._refused = None
        seq = self._keep(kind, body)
        if not seq:
            self.refused += 1
            return None
        if urgent:
            self.flush()
        return seq

    def tick(self, now_ms: int) -> None:
        """What is due, to be called where a stall of the flash does no harm."""
        if self._retry_at_ms is not None:
            if now_ms < self._retry_at_ms:
                return
            self._retry_at_ms = None
        failed = self.errors
        for lost in self._lost:
            if not lost[2] and self._keep(GAP, (lost[0], lost[1], GAP_CORRUPT)):
                lost[2] = True
        if self._tail:
            if self._tail_since_ms is None:
                self._tail_since_ms = now_ms
            if (
                len(self._tail) >= self._flush_records
                or self._tail_bytes >= self._flush_bytes
                or now_ms - self._tail_since_ms >= self._flush_age_ms
            ):
                self.flush()
        self._tidy()
        if self._edge - self._next < self._reserve // 2:
            self._extend()
        if self.errors > failed:
            self._retry_at_ms = now_ms + RETRY_MS

    def flush(self) -> bool:
        """Writes what is in RAM to flash -> whether all of it is there now."""
        while self._tail and not self.volatile:
            new = not 0 < self._size < self._segment_bytes
            if new and len(self._segments) >= self._max_segments:
                self._condemn()
            try:
                self._write(new)
            except OSError as error:
                self.errors += 1
                if error.errno != ENOSPC:
                    self._size = 0  # never again into a segment that failed
                    return False
                if not self._segments:
                    return False
                self._condemn()
                if not self._tidy():
                    return False
        self._tidy()
        return not self._tail

    def close(self) -> bool:
        """A clean stop: all on flash and no number left reserved -> whether that is so."""
        if not self.flush():
            return False
        self._edge = self._next
        return self._save()

    # -- numbers

    def _open(self, random_u32) -> None:
        try:
            os.mkdir(self._folder)
        except OSError as error:
            if error.errno != EEXIST:
                raise
        head = read_head(self._folder + "/head")
        self._segments = segments(self._folder)
        if head is None:
            while self._segments:  # of a stream that nobody knows any more
                os.remove(self._path(self._segments.pop()))
            head = (random_u32() | 0x80000000, 0, 1, 1)
        self.stream, boot, edge, self._cum = head
        self.boot_no = boot + 1
        self._find_end()
        self._next = self._edge = max(edge, self._flushed + 1)
        self._cum = min(self._cum, self._next)
        if not self._extend():
            raise OSError(5)
        first = max(self._flushed + 1, self._cum)
        if first < self._next:
            self._keep(GAP, (first, self._next - 1, GAP_POWER_CUT))

    def _find_end(self) -> None:
        """Sets the highest seq on flash and whether the newest segment can be gone on with."""
        for i in range(len(self._segments) - 1, -1, -1):
            path = self._path(self._segments[i])
            try:
                end, torn = walk(path, self.stream, 0, self._see)
            except OSError:
                self.errors += 1
                continue
            if self._flushed:
                if i == len(self._segments) - 1 and not torn:
                    self._size = end
                return
            os.remove(path)  # begun, and nothing of it was ever whole
            self._segments.pop(i)

    def _see(self, seq, kept, end, damaged) -> None:
        self._flushed = max(self._flushed, seq)

    def _number(self) -> int:
        """A number never given before, 0 when flash refuses to reserve more."""
        if self._next >= self._edge and not self._extend():
            return 0
        self._next += 1
        return self._next - 1

    def _extend(self) -> bool:
        before = self._edge
        self._edge = self._next + self._reserve
        if self._save():
            return True
        self._edge = before
        return False

    def _save(self) -> bool:
        if self.volatile:
            return True
        try:
            write_head(self._folder + "/head", self.stream, self.boot_no, self._edge, self._cum)
            return True
        except OSError:
            self.errors += 1
            return False

    # -- records

    def _path(self, first: int) -> str:
        return "%s/%08x" % (self._folder, first)

    def _keep(self, kind: int, body) -> int:
        """Numbers a record and puts it into RAM -> its seq, 0 without a number."""
        seq = self._number()
        if seq:
            self._push(seq, record(kind, seq, *body))
        return seq

    def _push(self, seq: int, kept: bytes) -> None:
        self._tail.append((seq, kept))
        self._tail_bytes += len(kept)

    def _write(self, new: bool) -> None:
        first = self._tail[0][0] if new else self._segments[-1]
        self._size = write_frames(self._path(first), self.stream, [r for _, r in self._tail])
        if new:
            self._segments.append(first)
        self._flushed = self._tail[-1][0]
        self._tail = []
        self._tail_bytes = 0
        self._tail_since_ms = None
        self.flushes += 1

    def _read(self, seq: int, first: int, after: int):
        segment, at, before = self._at
        if segment != first or before >= seq:
            at, before = 0, first - 1
        found = None

        def visit(number, kept, end, damaged):
            nonlocal found, at, before
            if damaged and number > before + 1:
                self._note_lost(before + 1, number - 1)
            if number > seq:
                return True
            at, before = end, max(before, number)
            if number == seq:
                found = kept
                return True

        _, torn = walk(self._path(first), self.stream, at, visit)
        if torn and before + 1 < after:
            self._note_lost(before + 1, after - 1)
        self._at = (first, at, before)
        return found

    def _note_lost(self, first: int, last: int) -> None:
        """A corrupt range, for the next tick to announce."""
        for lost in self._lost:
            if lost[0] <= first and last <= lost[1]:
                return
        self.corrupt += 1
        self._lost.append([first, last, False])
        if len(self._lost) > ANNOUNCED:
            self._lost.pop(0)

    # -- forgetting

    def _condemn(self) -> None:
        """The oldest segment makes way: says so, and first writes again what later records need."""
        first = self._segments[0]
        last = self._segments[1] - 1 if len(self._segments) > 1 else self._flushed
        if first == self._condemned:
            return
        if self._cum <= last:
            needed = {}

            def visit(seq, kept, end, damaged):
                _, at, body = numbered(kept)
                kind = kept[at - 1]
                if kind in (SCHEMA, BOOT, ANCHOR) and seq >= self._cum:
                    # One of each schema (its sid is one byte), the latest boot and anchor.
                    needed[kind + (kept[body] << 8 if kind == SCHEMA else 0)] = kept

            try:
                walk(self._path(first), self.stream, 0, visit)
            except OSError:
                self.errors += 1
            if not self._keep(GAP, (self._cum, last, GAP_LOG_FULL)):
                return
            self.dropped += last + 1 - max(first, self._cum)
            room = self._segment_bytes // 2
            for kept in needed.values():
                room -= len(kept)
                seq = self._number() if room > 0 else 0
                if seq:
                    _, at, body = numbered(kept)
                    self._push(seq, kept[:at] + pack(seq) + kept[body:])
        self._condemned = first

    def _tidy(self) -> bool:
        """Deletes whole segments that are acknowledged or make way -> whether any went."""
        gone = False
        while self._segments:
            first = self._segments[0]
            last = self._segments[1] - 1 if len(self._segments) > 1 else self._flushed
            if self._cum <= last and first != self._condemned:
                break
            if not gone and first != self._condemned and not self._save():
                break
            try:
                os.remove(self._path(first))
            except OSError as error:
                self.errors += 1
                if error.errno != ENOENT:
                    break
            self._segments.pop(0)
            if not self._segments:
                self._size = 0
            gone = True
        return gone
