"""`python -m meuse.lake DATA [--all]`: what the running host starts when the lake is due."""

import os
import sqlite3
import sys
import time
from pathlib import Path

import duckdb

from meuse.lake.policy import Policy
from meuse.lake.process import run

# Below the host, whose commits and acknowledgements go first.
NICENESS = 10


def main(arguments: list[str]) -> int:
    os.nice(NICENESS)
    everything = "--all" in arguments
    (data,) = [one for one in arguments if one != "--all"]
    try:
        run(Path(data), Policy(), lambda: time.time_ns() // 1_000_000, everything)
    except (sqlite3.Error, OSError, duckdb.Error) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
