"""The build: what a board needs, only that, and only again when it changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import build


def test_a_board_gets_what_it_imports_and_nothing_of_a_host(tmp_path: Path) -> None:
    sizes = build.build(tmp_path)
    assert sizes["meuse_board/flash_log"] == (tmp_path / "mpy/meuse_board/flash_log.mpy").stat().st_size
    assert "meuse_protocol/board_endpoint" in sizes
    assert not [name for name in sizes if "host" in name or name.endswith("_decode")]
    shims = {path.name.encode() for path in (tmp_path / "mpy-sim").glob("*.mpy")}
    assert b"machine.mpy" in shims
    boards, virtual = ((tmp_path / f"{name}.romfs").read_bytes() for name in ("board", "sim"))
    assert all(shim in virtual and shim not in boards for shim in shims), "a board has its port's own"


def test_only_what_changed_is_compiled_again_and_what_is_gone_goes(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    compiler = build.mpy_cross()
    build._compile({"a": "x = 1\n", "b.c": "y = 1\n", "d": "z = 1\n"}, target, compiler)
    before = {p.name: p.stat().st_mtime_ns for p in target.rglob("*.mpy")}
    assert set(before) == {"a.mpy", "c.mpy", "d.mpy"}
    sizes = build._compile({"a": "x = 1\n", "b.c": "y = 2\n"}, target, compiler)
    after = {p.name: p.stat().st_mtime_ns for p in target.rglob("*.mpy")}
    assert set(after) == {"a.mpy", "c.mpy"} and set(sizes) == {"a", "b/c"}
    assert after["a.mpy"] == before["a.mpy"] and after["c.mpy"] > before["c.mpy"]


def test_no_module_keeps_what_lies_behind_it_in_the_heap(tmp_path: Path) -> None:
    """Names that fill whole blocks, and no constant object: MicroPython's second table would begin in another block."""
    padded = 0
    for n in range(8, 24):
        text = "\n".join(f"import one_{i}" for i in range(n))
        build._cross(build.mpy_cross(), "a", text, tmp_path / "a.mpy")
        mpy = (tmp_path / "a.mpy").read_bytes()
        assert not build._points_beyond(mpy)
        padded += mpy[5] == 1  # constant objects, behind fewer than 128 names
    assert 4 <= padded < 16


def test_a_missing_compiler_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPY_CROSS", "/nowhere/mpy-cross")
    with pytest.raises(build.BuildError, match="make setup"):
        build.mpy_cross()


def test_source_that_does_not_compile_is_named(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(build.BuildError, match="SyntaxError"):
        build._compile({"a": "x = = 1\n"}, target, build.mpy_cross())
    assert not list(target.glob("*.mpy"))


def test_the_command_prints_sizes(root: Path) -> None:
    words = [sys.executable, str(root / "firmware/build.py"), "--json"]
    sizes = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert sizes["meuse_board/app"] > 1000
