"""A real writer process that ends itself (kill -9) at the n-th time a step is reached.

Usage: lake_process.py DATA NOW_MS FILE_RECORDS [STEP [N]]
"""

import os
import signal
import sys
from pathlib import Path

from meuse.lake.policy import Policy
from meuse.lake.process import run


def main(data: str, now_ms: str, file_records: str, fatal: str = "", times: str = "1") -> None:
    left = int(times)

    def step(name: str) -> None:
        nonlocal left
        left -= name == fatal
        if name == fatal and not left:
            os.kill(os.getpid(), signal.SIGKILL)

    policy = Policy(file_records=int(file_records))
    print(run(Path(data), policy, lambda: int(now_ms), everything=True, step=step))


main(*sys.argv[1:])
