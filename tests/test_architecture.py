"""Who may import whom: host and firmware import the protocol, never each other; nothing imports tests."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Part of the tree -> names of the other parts that it may import.
ALLOWED = {
    "protocol/meuse_protocol": set(),
    "firmware": {"meuse_protocol", "meuse_board"},
    "host/meuse": {"meuse_protocol"},
}
PARTS = {"meuse_protocol", "meuse_board", "meuse", "tests", "firmware", "host", "protocol"}

# The shared dialect: what both MicroPython and CPython have, and nothing that reads a clock or does IO.
SHARED_MODULES = {"struct", "binascii", "hashlib", "collections", "meuse_protocol"}


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports; relative imports are the file's own part."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def sources(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_parts_import_only_what_they_may(part: str) -> None:
    own = Path(part).name
    assert sources(part)
    for path in sources(part):
        strangers = (imported(path) & PARTS) - ALLOWED[part] - {own}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_the_shared_package_uses_only_what_both_runtimes_have() -> None:
    for path in sources("protocol/meuse_protocol"):
        strangers = imported(path) - SHARED_MODULES
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_shared_tests_use_nothing_but_the_protocol_and_the_dialect() -> None:
    for path in sorted((ROOT / "tests/shared").glob("test_*.py")):
        assert "pytest" not in imported(path), path.name
