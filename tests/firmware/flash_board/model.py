"""What a host and a witness know of a log, and the promises that must hold whenever power comes back.

The witness saw every record that ever had a number, which of them the log called flushed, and what the
host stored. `Witness.check` opens the log on a chip as a boot would and holds it against that.
"""

from meuse_board.flash_log import FlashLog
from meuse_protocol.messages import DATA, GAP, GAP_LOG_FULL
from meuse_protocol.msgpack import unpack


def gap_of(record):
    """(first, last, reason) of a GAP record, None of another."""
    at = 2 if record[0] < 0xDC else 4
    if record[at - 1] != GAP:
        return None
    return unpack(record[: at - 1] + record[at:])[1:] if at == 4 else _fixed(record)


def _fixed(record):
    # The array header counts type and stream too, which a record has not both of.
    elements = unpack(bytes((0x94,)) + record[2:])
    return elements[1:]


class Violation(Exception):
    pass


class Witness:
    """`settings` are those of FlashLog. may_drop: the flash can get full. strict: no operation fails."""

    def __init__(self, settings, may_drop, strict=True):
        self.settings = settings
        self.strict = strict
        self.may_drop = may_drop or not strict
        self.stream = None
        self.boots = 0
        self.known = {}  # seq -> record, of all that might still be asked for
        self.flushed = {}  # seq -> True, called flushed and not stored by the host
        self.gone = {}  # seq -> True, lost with the RAM of a boot: never flushed
        self.highest = 0
        self.stored = {}  # seq -> True, by the host, above its cum
        self.cum = 1
        self.gaps = []  # (first, last) that the host was told

    # -- while the board runs

    def saw_open(self, log):
        if self.stream is not None and log.stream != self.stream:
            raise Violation("another stream")
        self.stream = log.stream
        if log.boot_no <= self.boots:
            raise Violation("boot number again")
        self.boots = log.boot_no
        for seq in self.known:
            if seq not in self.flushed and log.get(seq) is None:
                self.gone[seq] = True
        self.see(log)

    def see(self, log):
        """Notes all records that got a number since the last call."""
        while self.highest + 1 < log.next_seq():
            self.highest += 1
            record = log.get(self.highest)
            if record is not None:
                self.known[self.highest] = record

    def saw_flush(self, log):
        """The log said that all is on flash."""
        for seq in range(self.cum, self.highest + 1):
            if seq in self.known and seq not in self.stored and seq not in self.gone:
                self.flushed[seq] = True

    def host_stores(self, log, first, last):
        """The host gets what the log still has of these numbers and stores it."""
        for seq in range(max(first, self.cum), last + 1):
            record = log.get(seq)
            if record is None:
                continue
            if self.known.get(seq, record) != record:
                raise Violation("seq %d changed" % seq)
            gap = gap_of(record)
            if gap:
                self.gaps.append(gap[:2])
            self.stored[seq] = True
            self.flushed.pop(seq, None)
        while self.cum in self.stored or self.is_gap(self.cum):
            if self.cum not in self.stored and self.cum > self.highest:
                break
            self.stored.pop(self.cum, None)
            self.known.pop(self.cum, None)
            self.gone.pop(self.cum, None)
            self.flushed.pop(self.cum, None)
            self.cum += 1
        self.gaps = [g for g in self.gaps if g[1] >= self.cum]

    def is_gap(self, seq):
        return any([a <= seq <= b for a, b in self.gaps])

    def told_oldest(self, oldest):
        """HELLO: what is below will never come."""
        if oldest > self.cum:
            self.gaps.append((self.cum, oldest - 1))
            for seq in list(self.flushed):
                if seq < oldest:
                    if not self.may_drop:
                        raise Violation("flushed %d dropped" % seq)
                    self.flushed.pop(seq)
            self.host_stores(None, 1, 0)

    # -- after a cut

    def open(self, folder):
        return FlashLog(folder, lambda: 0x5EED, **self.settings)

    def check(self, folder):
        """Opens the log in `folder` and raises Violation when a promise is broken; returns it."""
        log = self.open(folder)
        if log.volatile or log.errors:
            raise Violation("cannot be opened")
        if self.stream is None:
            return log
        if log.stream != self.stream:
            raise Violation("another stream")
        if log.boot_no <= self.boots:
            raise Violation("boot number again")
        self.check_content(log)
        return log

    def check_content(self, log):
        """Nothing flushed is lost, nothing has changed, and what is missing is announced."""
        if log.next_seq() <= self.highest:
            raise Violation("number %d again" % log.next_seq())
        gaps, missing = [], []
        if log._refused:
            gaps.append(log._refused + (GAP_LOG_FULL,))  # to be announced when there is room
        for seq in range(log.oldest(), log.next_seq()):
            record = log.get(seq)
            if record is None:
                if seq >= self.cum and seq not in self.stored and not self.is_gap(seq):
                    missing.append(seq)
                continue
            gap = gap_of(record)
            if gap:
                gaps.append(gap)
            if self.known.get(seq, record) != record:
                raise Violation("seq %d changed" % seq)
        for seq in missing:
            covering = [r for a, b, r in gaps if a <= seq <= b]
            if not covering:
                raise Violation("seq %d is missing and no GAP says so" % seq)
            if seq in self.flushed and not (self.may_drop and GAP_LOG_FULL in covering):
                raise Violation("flushed %d is lost" % seq)
        for seq in self.flushed:
            if seq < log.oldest() and seq >= self.cum and not self.may_drop:
                raise Violation("flushed %d is dropped" % seq)

    def check_goes_on(self, folder):
        """check(), and what is written afterwards is there after another boot."""
        log = self.check(folder)
        seqs = [log.append(DATA, (1, i, b"after the cut" * 3)) for i in range(3)]
        kept = [log.get(seq) for seq in seqs]
        if None in seqs or None in kept:
            raise Violation("cannot be written to")
        if not log.flush():
            if log._segments or not self.may_drop:
                raise Violation("cannot be flushed")
            return  # files of others take all of the flash
        again = self.open(folder)
        if [again.get(seq) for seq in seqs] != kept:
            raise Violation("written after the cut, and lost")
        if again.next_seq() <= max(seqs):
            raise Violation("number again after the cut")
