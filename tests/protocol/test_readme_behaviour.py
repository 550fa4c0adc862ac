"""The tables of protocol/README.md, second half, held to the code: states, counters, numbers."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from meuse_protocol import board_endpoint, host_states, seal, states

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "protocol/README.md").read_text("utf-8")
PACKAGE = ROOT / "protocol/meuse_protocol"


def rows(title: str) -> list[list[str]]:
    """The cells of the table that follows <!-- title -->, without its two head lines."""
    after = README.split(f"<!-- {title} -->\n")[1]
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("title", "module", "table"),
    [("board states", states, states.BOARD), ("host states", host_states, host_states.HOST)],
)
def test_state_tables(title: str, module: object, table: dict[str, str]) -> None:
    written = {}
    for name, *cells in rows(title):
        letters = [getattr(module, cell) if cell else "." for cell in cells]
        written[getattr(module, name)] = "".join(letters)
    assert written == table


def counters(path: Path) -> set[str]:
    """Every name a module counts under: what _count, _refuse and the second of _step are given."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in ("_count", "_refuse", "_step"):
            for constant in ast.walk(node):
                if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                    found.add(constant.value)
    return found - {""}


def test_every_counter_is_in_the_table_of_its_end() -> None:
    host = {name for row in rows("host reactions") for name in re.findall(r"`([a-z_]+)`", row[2])}
    board = {name for row in rows("board reactions") for name in re.findall(r"`([a-z_]+)`", row[2])}
    named_otherwise = {"limit", "content", "fragment_limit", "fragment_differs"}  # chosen by the error
    assert counters(PACKAGE / "host_endpoint.py") | counters(PACKAGE / "host_hello.py") | named_otherwise == host
    own = counters(PACKAGE / "board_endpoint.py") | counters(PACKAGE / "reactions.py")
    assert own | {seal.OTHER_STREAM, seal.BAD_MAC} == board


def test_every_number_is_the_codes() -> None:
    table = rows("numbers")
    for name, value, where, _ in table:
        if name.isupper():
            module = importlib.import_module(f"meuse_protocol.{where}")
            assert getattr(module, name) == int(value), name
    assert board_endpoint.EVENTS_MAX == 16


def test_every_name_in_capitals_is_explained() -> None:
    text = README.split("## Behaviour")[1].split("### Numbers")[0]
    used = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text))
    assert used <= {row[0] for row in rows("numbers")}
