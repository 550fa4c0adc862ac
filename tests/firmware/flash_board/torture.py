"""Power fails at every operation of the flash, in each of three ways; nothing promised may be lost.

    micropython -X heapsize=8m torture.py SEED CUTS [FAULT]

FAULT names a mistake to build into the log (see FAULTS), which must be found out.
Random work on a log (append, urgent, flush, tick, acknowledge, clean and unclean reboot, other files).
Before each program and erase the chip is copied, the operation is done not at all, by half or with
random bits on the copy, and the copy is mounted and opened as a boot would. Prints one line of counts.
"""

import json
import random
import sys
import time

here = __file__.rsplit("/", 1)[0]
root = here + "/../../.."
sys.path[:0] = [here, root + "/firmware/sim/micropython", root + "/firmware", root + "/protocol"]

import vfs  # noqa: E402
from flash import CLEAN, HALF, RANDOM, RamFlash, mount, torn  # noqa: E402
from meuse_board.flash_log import FlashLog  # noqa: E402
from meuse_protocol.messages import GAP, record  # noqa: E402
from model import Violation, Witness  # noqa: E402
from work import SHAPES, Work, noise  # noqa: E402

TWICE = 7  # every so manieth cut is followed by a second one while the log comes up again


class Cutter:
    """Tries all ways in which the coming operation can be cut short, each on a copy of the chip."""

    def __init__(self, chip, witness, program_bytes):
        self.chip = chip
        self.witness = witness
        self.program_bytes = program_bytes
        self.copy = RamFlash(chip.blocks)
        self.cuts = self.second = 0

    def __call__(self, kind, block, offset, data):
        address = block * 4096 + offset
        old, new = self.chip.change(kind, address, data)
        for mode in (CLEAN, HALF, RANDOM):
            self.copy.cells[:] = self.chip.cells
            self.copy._write(address, torn(old, new, mode, noise))
            self.cuts += 1
            if self.cuts % TWICE == 0:
                self.cut_again()
            self.boot(self.witness.check_goes_on)

    def cut_again(self):
        """Power fails a second time in what the boot writes."""
        self.second += 1
        copy = self.copy
        copy.cut_at = copy.operations + 1 + random.getrandbits(5) % 12
        copy.cut_mode = random.getrandbits(2) % 3
        try:
            self.boot(self.witness.open)
            self.boot(self.witness.check_goes_on)
        except (OSError, Violation):
            if not copy.dead:
                raise
        copy.cut_at = None
        copy.dead = False

    def boot(self, look):
        mount(self.copy, "/copy", self.program_bytes)
        try:
            look("/copy/log")
        finally:
            vfs.umount("/copy")


def unreserved(log):
    log._edge = log._next + 64
    return True


def unannounced(log, kind, body):
    seq = log._number()
    if kind != GAP:
        log._tail.append((seq, record(kind, seq, *body)))
    return seq


def unwritten(log):
    return True


def too_early(log):
    log._condemned = log._segments[0]
    log._tidy()


FAULTS = {
    "unreserved": ("_extend", unreserved),
    "unannounced": ("_keep", unannounced),
    "unwritten": ("flush", unwritten),
    "too_early": ("_condemn", too_early),
}


def main():
    if len(sys.argv) > 3:
        setattr(FlashLog, *FAULTS[sys.argv[3]])
    seed, cuts = int(sys.argv[1]), int(sys.argv[2])
    random.seed(seed)
    began = time.ticks_ms()
    total = second = steps = lives = operations = drops = refused = 0
    while total < cuts:
        name, blocks, settings, program_bytes, taken, may_drop = SHAPES[
            (seed + lives) % len(SHAPES)
        ]
        lives += 1
        chip = RamFlash(blocks)
        mount(chip, "/main", program_bytes)
        witness = Witness(settings, may_drop)
        cutter = Cutter(chip, witness, program_bytes)
        chip.before = cutter
        try:
            work = Work(witness, taken, offline=lives % 3 == 1)
            for _ in range(150):
                work.step()
                steps += 1
                if total + cutter.cuts >= cuts:
                    break
        except Violation:
            print("seed", seed, "life", lives, name, "step", steps, "cut", total + cutter.cuts)
            raise
        total += cutter.cuts
        second += cutter.second
        drops += work.drops
        refused += work.refused
        operations += chip.operations
        chip.before = None
        vfs.umount("/main")
    counts = {"seed": seed, "cuts": total, "second_cuts": second, "operations": operations}
    counts.update({"steps": steps, "lives": lives, "drops": drops, "refused": refused})
    counts["ms"] = time.ticks_diff(time.ticks_ms(), began)
    print(json.dumps(counts))


main()
