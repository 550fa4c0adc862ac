"""Random work on a log, as a board does it; every step is told to the witness."""

import random

from meuse_protocol.messages import ANCHOR, BOOT, DATA, SCHEMA
from model import Violation

# name, blocks, FlashLog's settings, bytes per program, blocks taken by other files, may records be dropped
SHAPES = (
    ("small", 16, {"segment_bytes": 500, "max_segments": 4, "flush_records": 4}, 32, 0, True),
    ("roomy", 48, {"segment_bytes": 4096, "max_segments": 24, "flush_records": 8}, 32, 0, False),
    ("rp2", 16, {"segment_bytes": 900, "max_segments": 4, "flush_records": 6}, 256, 0, True),
    ("full", 14, {"segment_bytes": 600, "max_segments": 16, "flush_records": 4}, 32, 6, True),
)


def noise(n):
    return random.getrandbits(8 * n).to_bytes(n, "big") if n < 4 else _noise(n)


def _noise(n):
    words = [random.getrandbits(32).to_bytes(4, "big") for _ in range((n + 3) // 4)]
    return b"".join(words)[:n]


class Work:
    """A board's life, by dice, on the chip mounted at /main; `now` is its uptime."""

    def __init__(self, witness, taken, offline=False):
        self.witness = witness
        self.offline = offline  # nothing is acknowledged
        self.drops = self.refused = 0
        self.taken = taken
        self.now = 0
        self.log = None
        self.before_boot = None
        self.boot()

    def reboot(self):
        """The RAM is lost; `before_boot` may put the flash in order first."""
        self.drops += self.log.dropped
        self.refused += self.log.refused
        if self.before_boot:
            self.before_boot()
        self.boot()

    def boot(self):
        self.log = self.witness.open("/main/log")
        self.witness.saw_open(self.log)
        self.witness.check_content(self.log)
        self.witness.told_oldest(self.log.oldest())
        self.now = 0

    def step(self):
        dice = random.getrandbits(16) % 100
        if dice < 62:
            self.append()
        elif dice < 72:
            self.now += random.getrandbits(16)
            self.log.tick(self.now)
        elif dice < 80:
            self.flush()
        elif dice < 92:
            if not self.offline:
                self.acknowledge(dice)
        elif dice < 94:
            if self.log.close():
                self.witness.see(self.log)
                self.witness.saw_flush(self.log)
            self.reboot()
        elif dice < 97:
            self.reboot()
        else:
            self.other_files()
        self.witness.see(self.log)

    def append(self):
        dice = random.getrandbits(8)
        size = random.getrandbits(7)
        if dice < 20:
            body = (SCHEMA, (1 + dice % 5, "group", 1000, [["a", "Cel", -1]] * (1 + size % 6)))
        elif dice < 30:
            body = (BOOT, (self.log.boot_no, 1, "firmware"))
        elif dice < 40:
            body = (ANCHOR, (self.now, 1763913600123, 20, self.log.boot_no))
        else:
            body = (DATA, (1, size, noise(size)))
        urgent = random.getrandbits(4) == 0
        seq = self.log.append(body[0], body[1], urgent)
        if seq is None and not self.witness.may_drop:
            raise Violation("refused")
        self.witness.see(self.log)
        if seq and self.witness.strict and self.log.get(seq) is None:
            raise Violation("appended and not there")
        if urgent and not self.log._tail:
            self.witness.saw_flush(self.log)

    def flush(self):
        done = self.log.flush()
        self.witness.see(self.log)
        if done:
            self.witness.saw_flush(self.log)
        elif self.witness.strict and not self.witness.may_drop:
            raise Violation("not flushed")

    def acknowledge(self, dice):
        """All of it, the lower part, or the newest above a hole."""
        witness, log = self.witness, self.log
        witness.see(log)
        first, last = witness.cum, log.next_seq() - 1
        if dice < 83:
            last = first + random.getrandbits(6)
        elif dice < 88 and last - first > 4:
            first = last - random.getrandbits(2)
        last = min(last, log.next_seq() - 1)
        witness.host_stores(log, first, last)
        ranges = []
        for seq in sorted(witness.stored):
            if ranges and ranges[-1][1] == seq - 1:
                ranges[-1] = (ranges[-1][0], seq)
            else:
                ranges.append((seq, seq))
        log.acked(witness.cum, ranges)

    def other_files(self):
        """Others write too, and a flash that was full becomes less so, or more."""
        name = "/main/other%d" % (random.getrandbits(4) % 4)
        size = 4096 * (random.getrandbits(3) % (self.taken + 1)) + 50
        try:
            with open(name, "wb") as f:
                for _ in range(size // 50):
                    f.write(b"x" * 50)
        except OSError:
            pass
