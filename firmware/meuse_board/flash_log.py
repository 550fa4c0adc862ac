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

from meuse_protocol.messages import GAP, GAP_CORRUPT, GAP_LOG_FULL, GAP_POWER_CUT, record
from meuse_protocol.msgpack import pack

from .log_layout import FRAME_BYTES, NO_SEQ, find, numbered, write_frames, write_head
from .log_needed import still_needed

EIO, ENOENT, ENOSPC = 5, 2, 28
RETRY_MS = 5000  # between attempts on a flash that failed
LOST_MAX = 16  # corrupt ranges that are remembered; what is forgotten is found again
SEARCH_BYTES = 4096  # of a damaged place read in one go


class FlashLog:
    """The log in `folder`, opened (or made) at once; when flash does not answer it is in RAM only.

    random_u32() gives 32 random bits for the id of a new stream. Bounds: `max_segments` of
    `segment_bytes` each on flash (one more while the oldest makes way), four times the amount that
    is flushed at once in RAM.

    stream, boot_no: ids of this log and of this boot. volatile: there is no flash. Counters: flushes,
    errors (OSError of the flash), refused (records that got no room), dropped (numbers that made way),
    corrupt (ranges that cannot be read).
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
        self._segment_bytes = segment_bytes - (segment_bytes >> 9)  # littlefs keeps pointers in it
        self._max_segments = max_segments
        self._flush_records = flush_records
        self._flush_bytes = flush_bytes
        self._flush_age_ms = flush_age_ms
        self._tail = []  # (seq, record), not flushed
        self._since_ms = None  # when a tick first saw this tail
        self._retry_ms = 0
        self._refused = None  # [first, last] numbered and not kept: RAM was full
        self._condemned = 0  # first seq of the segment that makes way
        self._floor = 0  # all below went before a GAP could say so in flash: HELLO tells the host
        self._lost = []  # (first, last, reason, byte behind it): what cannot be read, the latest places
        self._told = 0  # so many of them are announced
        self._at = 0, 0, 0  # where reading goes on: segment, byte, lowest seq there
        # A damaged place is looked through little by little: bytes that may be read there until
        # whoever runs the board gives more, then where: segment, byte, lowest seq there.
        self.search = [SEARCH_BYTES, 0, 0, 0]
        self._hole = 0, 0  # numbers that were looked for last and are not there
        self._size = 0  # of the newest segment; 0: begin a new one
        self._flushed = 0  # highest seq on flash
        self.flushes = self.errors = self.refused = self.dropped = self.corrupt = 0
        self.volatile = False
        self.before_flush = None  # called before records go to flash: what they tell of must not be younger
        try:
            self._open(random_u32)
        except OSError:
            self.errors += 1
            self.volatile = True  # a stream of its own; what is on flash stays as it is
            self.stream = random_u32() | 0x80000000
            self.boot_no = self._cum = self._next = 1
            self._edge = NO_SEQ
            self._segments = []

    # -- what an endpoint asks

    def next_seq(self) -> int:
        """The number that the next record will have."""
        return self._next

    def oldest(self) -> int:
        """The lowest number not known to be acknowledged; from here on all is kept or in a GAP."""
        return max(self._cum, self._floor)

    def backlog(self) -> int:
        """How many numbers wait for their acknowledgement."""
        return self._next - self._cum

    def get(self, seq: int):
        """The record, or None: acknowledged, dropped or corrupt (a GAP says so), unreadable, or not found yet.

        Not yet: it may stand behind a damaged place, and search[0] is spent.
        """
        for number, kept in self._tail:
            if number == seq:
                return kept
        first, after = 0, self._flushed + 1
        for begin in self._segments:
            if begin > seq:
                after = begin
                break
            first = begin
        if not first or seq >= after or self._hole[0] <= seq <= self._hole[1]:
            return None
        try:
            return self._find(first, after, seq)
        except OSError:
            self.errors += 1
            return None

    def _find(self, first: int, after: int, seq: int):
        """get() in the segment of these numbers; None also while a damaged place is not looked through."""
        segment, at, low = self._at
        if segment != first or low > seq:
            at, low = 0, first
        for lost in self._lost:
            if lost[0] <= seq <= lost[1]:
                return None
            if first <= lost[0] and low <= lost[1] < seq:
                at, low = lost[3], lost[1] + 1
        search = self.search
        torn = search[1] == first and at <= search[2] and search[3] <= seq
        if torn:
            _, _, at, low = search
            if search[0] <= 0:
                return None
        elif search[1] != first and search[1] in self._segments:
            search = [0, 0, 0, 0]  # one segment after the other
        while True:
            number, kept, end, passed, damaged = find(self._path(first), self.stream, at, seq, search, torn)
            low = max(low, passed + 1)
            if number < 0:
                search[1], search[2], search[3] = first, end, low
                return None
            if torn:
                search[1] = 0
            torn = False
            if number:
                at = end - FRAME_BYTES - len(kept)
            begin, last = max(low, self._cum), (number or after) - 1
            full = len(self._lost) == LOST_MAX
            if damaged and begin <= last and (self._told or not full):
                if full:
                    self._lost.pop(0)
                    self._told -= 1
                self.corrupt += 1
                self._lost.append((begin, last, GAP_CORRUPT, at))
            if number == seq:
                self._at = first, end, seq + 1
                return kept
            if number > seq or not number:
                self._hole = low, last
                if number:
                    self._at = first, at, number
                return None
            at, low = end, number + 1

    def acked(self, cum: int, ranges=()) -> None:
        """All below `cum` and in `ranges` [(first, last)] is stored elsewhere. Writes no flash."""
        self._cum = cum = max(self._cum, min(cum, self._next))
        self._tail = [
            p for p in self._tail if p[0] >= cum and not any([a <= p[0] <= b for a, b in ranges])
        ]

    # -- what the application does

    def append(self, kind: int, body, urgent: bool = False):
        """Keeps a record -> its seq; None when there was no room for it: counted and announced."""
        if self._fills(2) and not self._retry_ms:
            self.flush()
        if self._fills(4):
            seq = self._number()
            if seq:
                self._refused = self._refused[0] if self._refused else seq, seq
        else:
            if self._refused and self._keep(GAP, self._refused + (GAP_LOG_FULL,)):
                self._refused = None
            seq = self._keep(kind, body)
            if seq:
                if urgent:
                    self.flush()
                return seq
        self.refused += 1
        return None

    def tick(self, now_ms: int) -> None:
        """Does what is due; to be called where a stall of the flash does no harm."""
        if now_ms < self._retry_ms:
            return
        self._retry_ms = 0
        while self._told < len(self._lost) and self._keep(GAP, self._lost[self._told][:3]):
            self._told += 1
        due = self._fills(1)
        if not self._tail:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = now_ms
        elif now_ms - self._since_ms >= self._flush_age_ms:
            due = True
        done = not due or self.flush()
        self._tidy()
        if self._edge - self._next < self._reserve // 2 and not self._extend():
            done = False
        if not done:
            self._retry_ms = now_ms + RETRY_MS

    def flush(self) -> bool:
        """Writes what is in RAM to flash -> whether all of it is there now."""
        if self._tail and self.before_flush:
            self.before_flush()
        while self._tail and not self.volatile:
            new = not self._size or self._size + self._weight() > self._segment_bytes
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
                self._floor = self._last() + 1
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
        from .log_boot import look  # needed once: who is short of heap may forget it

        found = look(self._folder, random_u32)
        self.stream, boots, self._next, self._cum, self._segments, self._flushed, self._size = found
        self.boot_no = boots + 1
        self._edge = self._next
        if not self._extend():
            raise OSError(EIO)
        first = max(self._flushed + 1, self._cum)
        if first < self._next:
            self._keep(GAP, (first, self._next - 1, GAP_POWER_CUT))

    def _number(self) -> int:
        """A number never given before, 0 when flash refuses to reserve more."""
        if self._next >= self._edge and not self._extend():
            return 0
        self._next += 1
        return self._next - 1

    def _extend(self) -> bool:
        before = self._edge
        self._edge += self._reserve
        if self._save():
            return True
        self._edge = before
        return False

    def _save(self) -> bool:
        try:
            if not self.volatile:
                path = self._folder + "/head"
                write_head(path, self.stream, self.boot_no, self._edge, self.oldest())
            return True
        except OSError:
            self.errors += 1
            return False

    # -- records

    def _path(self, first: int) -> str:
        return "%s/%08x" % (self._folder, first)

    def _fills(self, times: int) -> bool:
        """Whether the tail is so many times what is flushed at once."""
        if len(self._tail) >= times * self._flush_records:
            return True
        return self._weight() >= times * self._flush_bytes

    def _weight(self) -> int:
        """Bytes that the tail takes on flash."""
        return sum([len(p[1]) + FRAME_BYTES for p in self._tail])

    def _keep(self, kind: int, body) -> int:
        """Numbers a record and puts it into RAM -> its seq, 0 without a number."""
        seq = self._number()
        if seq:
            self._tail.append((seq, record(kind, seq, *body)))
        return seq

    def _write(self, new: bool) -> None:
        first = self._tail[0][0] if new else self._segments[-1]
        self._size = write_frames(self._path(first), self.stream, self._tail)
        if new:
            self._segments.append(first)
        self._flushed = self._tail[-1][0]
        self._tail = []
        self._since_ms = None
        self.flushes += 1

    # -- forgetting

    def _last(self) -> int:
        """The highest number that the oldest segment can hold."""
        return self._segments[1] - 1 if len(self._segments) > 1 else self._flushed

    def _condemn(self) -> None:
        """The oldest segment makes way: says so, and first writes again what later records need."""
        first, last = self._segments[0], self._last()
        if first == self._condemned:
            return
        if self._cum <= last:
            if not self._keep(GAP, (self._cum, last, GAP_LOG_FULL)):
                return
            self.dropped += last + 1 - max(first, self._cum)
            needed = ()
            try:
                room = self._segment_bytes // 2
                needed = still_needed(self._path(first), self.stream, self._cum, room)
            except OSError:
                self.errors += 1
            for kept in needed:
                seq = self._number()
                if seq:
                    _, at, body = numbered(kept)
                    self._tail.append((seq, kept[:at] + pack(seq) + kept[body:]))
        self._condemned = first

    def _tidy(self) -> bool:
        """Deletes whole segments that are acknowledged or make way -> whether any went."""
        gone = False
        while self._segments:
            first = self._segments[0]
            if first != self._condemned or self._floor > first:
                if self.oldest() <= self._last() or not (gone or self._save()):
                    break
            try:
                os.remove(self._path(first))
            except OSError as error:
                self.errors += 1
                if error.errno != ENOENT:
                    break
            self._segments.pop(0)
            if self.search[1] == first:
                self.search[1] = 0
            if not self._segments:
                self._size = 0
            gone = True
        return gone
