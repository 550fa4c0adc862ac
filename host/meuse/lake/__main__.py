"""`python -m meuse.lake DATA [--all] [--journal=ADDRESS]`: what the running host starts when the lake is due."""

import json
import os
import sys
import time
from pathlib import Path

import duckdb

from meuse.errors import HostError
from meuse.journal.place import Place
from meuse.lake.policy import Policy
from meuse.lake.process import run
from meuse.postgres import Address

# Below the host, whose commits and acknowledgements go first.
NICENESS = 10


def main(arguments: list[str]) -> int:
    os.nice(NICENESS)
    everything = "--all" in arguments
    shared = [json.loads(one.partition("=")[2]) for one in arguments if one.startswith("--journal=")]
    (data,) = [one for one in arguments if not one.startswith("--")]
    place = Place(Path(data), Address(*shared[0]) if shared else None)
    failures: tuple[type[Exception], ...] = (*place.errors, HostError, OSError, duckdb.Error)
    try:
        run(place, Policy(), lambda: time.time_ns() // 1_000_000, everything)
    except failures as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
