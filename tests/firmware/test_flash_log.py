"""The board's log and settings on real MicroPython and littlefs, with the power cut at every operation.

MEUSE_CUTS sets how many cuts are made (8,000; a nightly run takes a million), MEUSE_SEED where the dice begin.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parent / "flash_board"
CUTS = int(os.environ.get("MEUSE_CUTS", "8000"))
SEED = int(os.environ.get("MEUSE_SEED", "1"))
PROCESSES = 2
HEAP = "heapsize=8m"  # the chip is in it, and a copy of the chip for each cut


def start(micropython: str, script: str, *words: str) -> "subprocess.Popen[str]":
    command = [micropython, "-X", HEAP, str(SCRIPTS / script), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def counts(out: str) -> dict[str, Any]:
    return dict(json.loads(out.strip().splitlines()[-1]))


@pytest.mark.parametrize("module", ["log_cases", "config_cases", "kept_cases", "command_cases"])
def test_cases(micropython: str, module: str) -> None:
    out = finish(start(micropython, "cases.py", module))
    assert int(out.split()[-2]) >= 2
    print(out)


def test_a_power_cut_at_every_operation_of_the_flash_loses_nothing_flushed(micropython: str) -> None:
    share = str(CUTS // PROCESSES)
    runs = [start(micropython, "torture.py", str(SEED + i), share) for i in range(PROCESSES)]
    found = [counts(finish(run)) for run in runs]
    assert sum(f["cuts"] for f in found) >= CUTS
    for count in ("second_cuts", "drops"):  # what must have happened for the run to mean something
        assert sum(f[count] for f in found) > CUTS // 200, found
    print(found)


@pytest.mark.parametrize("fault", ["unreserved", "unannounced", "unwritten", "too_early"])
def test_the_torture_finds_a_log_that_breaks_its_promise(micropython: str, fault: str) -> None:
    out, _ = (run := start(micropython, "torture.py", "0", "3000", fault)).communicate()
    assert run.returncode != 0 and "Violation" in out, out


@pytest.mark.parametrize("reads", [(), ("reads",)])
def test_a_flash_that_refuses_operations_loses_nothing_flushed(
    micropython: str, reads: tuple[str, ...]
) -> None:
    found = counts(finish(start(micropython, "errors.py", str(SEED), "1000", *reads)))
    assert found["failed"] > 100, found
