"""What tests/ports.py promises to tests that run side by side."""

import subprocess
import sys
from pathlib import Path

from tests.ports import FIRST, free_port

ROOT = Path(__file__).resolve().parents[1]
ASK = "from tests.ports import free_port; print(*[free_port() for _ in range(20)], flush=True); input()"


def test_no_two_processes_get_the_same_port_and_none_that_goes_out_from_here_by_itself() -> None:
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASK], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    got = [free_port() for _ in range(20)]
    for process in asking:
        assert process.stdout
        got += map(int, process.stdout.readline().split())
    for process in asking:
        process.communicate("\n")
    assert len(got) == len(set(got)) == 80
    picked = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(picked.read_text().split()[0]) if picked.exists() else FIRST
    assert lowest <= FIRST or max(got) < lowest, "a system set up to pick from everywhere cannot be helped"
