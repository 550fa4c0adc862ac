"""The flash refuses programs and erases, once or for a while; nothing flushed is lost, nothing crashes.

    micropython -X heapsize=8m errors.py SEED STEPS [reads]

With `reads` reads fail too. Then only "nothing crashes" is held: after a failed read littlefs takes its
cache for good, and may once say that a file is not there. NOR flash in a memory map has no failing reads.
"""

import random
import sys

here = __file__.rsplit("/", 1)[0]
root = here + "/../../.."
sys.path[:0] = [here, root + "/firmware/sim/micropython", root + "/firmware", root + "/protocol"]

import vfs  # noqa: E402
from flash import READ, RamFlash, mount  # noqa: E402
from model import Witness  # noqa: E402
from work import SHAPES, Work  # noqa: E402

ERRNOS = (5, 28, 16, 110)  # EIO, ENOSPC, EBUSY, ETIMEDOUT


class Trouble:
    """One access in 8 (with reads: 256) begins a spell in which up to 32 accesses fail."""

    def __init__(self, reads):
        self.reads = reads
        self.left = 0
        self.failed = 0
        self.off = True

    def end(self):
        self.off = True

    def __call__(self, kind, block):
        if self.off or (kind == READ and not self.reads):
            return 0
        if not self.left and random.getrandbits(8 if self.reads else 3) == 0:
            self.left = 1 + random.getrandbits(5)
            self.errno = ERRNOS[random.getrandbits(2)]
        if not self.left:
            return 0
        self.left -= 1
        self.failed += 1
        return self.errno


def look(log):
    """Reads all of it and holds it to nothing."""
    for seq in range(log.oldest(), log.next_seq()):
        log.get(seq)


def main():
    seed, steps = int(sys.argv[1]), int(sys.argv[2])
    random.seed(seed)
    reads = len(sys.argv) > 3
    done = failed = counted = lives = 0
    while done < steps:
        _, blocks, settings, program_bytes, taken, may_drop = SHAPES[(seed + lives) % len(SHAPES)]
        lives += 1
        chip = RamFlash(blocks)
        mount(chip, "/main", program_bytes)
        chip.fail = trouble = Trouble(reads)
        witness = Witness(settings, may_drop, strict=False)
        if reads:
            witness.check_content = look
        work = Work(witness, taken)
        work.before_boot = trouble.end
        for _ in range(200):
            trouble.off = False
            work.step()
            trouble.end()
            witness.check_content(work.log)
            counted += work.log.errors
            done += 1
        vfs.umount("/main")
        mount(chip, "/main", program_bytes)
        if not reads:
            witness.check_goes_on("/main/log")
        vfs.umount("/main")
        failed += trouble.failed
    print('{"seed": %d, "steps": %d, "lives": %d, "failed": %d}' % (seed, done, lives, failed))


main()
