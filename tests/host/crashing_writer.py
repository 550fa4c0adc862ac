"""A writer that kills itself (SIGKILL) in front of the N-th SQL statement; prints what it acknowledged.

python crashing_writer.py JOURNAL N     # run as a subprocess by test_journal_crash.py
"""

import os
import signal
import sys
from pathlib import Path

from meuse.journal.batch import Batch, Binding, Gap, Row
from meuse.journal.writer import Writer

STREAM = 0x80000001
BATCHES = 4
ROWS = 3


def batch(number: int) -> Batch:
    """A few records, a gap in front of them, and now and then a HELLO."""
    first = number * 10 + 5
    rows = [Row(STREAM, seq, 4, 1, "tcp", b"record %d" % seq) for seq in range(first, first + ROWS)]
    gaps = [Gap(STREAM, number * 10 + 1, first - 1, 1, "board", 1)]
    bindings = [Binding(STREAM, "a-1", 1, 1)] if number % 2 == 0 else []
    return Batch(rows, bindings, gaps)


def main() -> None:
    left = int(sys.argv[2])
    writer = Writer(Path(sys.argv[1]), 1)

    def count(statement: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    writer._db.set_trace_callback(count)
    for number in range(BATCHES):
        writer.commit(batch(number))
        print(number, flush=True)
    print("end", left, flush=True)


if __name__ == "__main__":
    main()
