"""Joined modules must still be the same program; MicroPython itself is the judge."""

import subprocess
from pathlib import Path

import pytest
from bundle import bundle
from shrink import shrink

SOURCES = {
    "p.__init__": "",
    "p.a": """
from struct import pack as _pack

SIZE = 2


def put(x):
    return _pack(">H", x)


def size():
    return SIZE
""",
    "p.b": """
import struct
from . import a
from .a import put


class Box:
    size = 7

    def __init__(self, put, items=(put, a.size)):
        self.put = put
        self.items = items

    def all(self):
        return [put(a) for a in range(a.size())] + [self.put, self.size, struct.calcsize(">I")]
""",
    "p.c": """
from struct import pack
from .b import Box as Crate
from .b import put as put


def size(put=put):
    def inner(struct):
        return [struct, put(1), pack(">B", 3)]

    return inner(Crate(4).all())
""",
    "p.late": """
from .c import Crate, size as measure


def run():
    return measure(), Crate(1).items[1]()
""",
}
TOGETHER = ["p.c", "p.a", "p.b"]


def result(sources: dict[str, str], folder: Path, micropython: str) -> str:
    """What p.late.run() gives."""
    for name, text in sources.items():
        path = folder / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = f"import sys; sys.path[:] = ['{folder}']; import p.late; print(p.late.run())"
    return subprocess.run([micropython, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_joined_program_gives_what_the_modules_gave(tmp_path: Path, micropython: str) -> None:
    joined = bundle(SOURCES, TOGETHER, "p.core")
    assert set(joined) == {"p.__init__", "p.core", "p.late"}
    expected = result(SOURCES, tmp_path / "apart", micropython)
    assert expected.count("b'") == 4
    assert result(joined, tmp_path / "joined", micropython) == expected
    assert result(shrink(joined, keep=["run"]), tmp_path / "small", micropython) == expected


def test_the_order_is_that_of_imports_and_lines_stay_whole() -> None:
    core = bundle(SOURCES, TOGETHER, "p.core")["p.core"]
    assert core.index("SIZE = ") < core.index("class ") < core.index("inner")
    assert len(core.split("\n")) == sum(len(SOURCES[name].split("\n")) for name in TOGETHER)


def test_each_name_means_one_thing() -> None:
    first = "def f():\n    return 1\n"
    second = "from .a import f as g\n\n\ndef f():\n    return g()\n"
    core = bundle({"p.a": first, "p.b": second}, ["p.b", "p.a"], "p.core")["p.core"]
    space: dict[str, object] = {}
    exec(core, space)
    one, two = (v for n, v in space.items() if callable(v) and not n.startswith("__"))
    assert one() == two() == 1  # type: ignore[operator]
    assert one is not two


def test_what_only_type_checkers_read_is_left_out() -> None:
    text = "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from .ports import Any\n\nx = 1\n"
    core = bundle({"p.a": text}, ["p.a"], "p.core")["p.core"]
    assert "ports" not in core


@pytest.mark.parametrize(
    "text", ["def f():\n    global x\n    x = 1\n", "def f():\n    from .b import x\n    return x\n"]
)
def test_what_cannot_be_joined_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match=r"p\.a:2"):
        bundle({"p.a": text, "p.b": "x = 1\n"}, ["p.a", "p.b"], "p.core")
