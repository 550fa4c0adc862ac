"""The table of docs/links.md: which link was run on what, out of the marks that the tests themselves carry.

    .venv/bin/python tests/links_table.py          writes it; a test compares

A mark is @pytest.mark.link(name, board=..., wire=..., host=...) with literal words or constants of
the module, so it can be read without running.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/links.md"
BEGIN, END = "<!-- links: written by tests/links_table.py -->\n", "<!-- end of links -->\n"
ORDER = (
    "serial", "rs485", "tcp", "tls", "udp", "mqtt", "http", "ble", "lora", "lorawan", "cellular", "sms", "file", "relay"
)


def marks() -> Iterator[tuple[str, str, str, str, str]]:
    """(link, board, wire, host, test file) of every mark on a test, a class or a module."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        known = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.link":
                words = {key.arg: _text(key.value, known) for key in node.keywords}
                name = _text(node.args[0], known)
                yield name, words["board"], words["wire"], words["host"], str(path.relative_to(ROOT))


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """A literal, or a constant of the module."""
    text: str = ast.literal_eval(known[node.id] if isinstance(node, ast.Name) else node)
    return text


def table() -> str:
    """Markdown, a row for each combination."""
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for name, board, wire, host, path in marks():
        found.setdefault((name, board, wire, host), set()).add(path)
    rank = {name: index for index, name in enumerate(ORDER)}
    rows = sorted(found, key=lambda row: (rank.get(row[0], len(ORDER)), row))
    lines = ["| link | board | wire | host | test |", "|---|---|---|---|---|"]
    for row in rows:
        tests = ", ".join(f"`{path}`" for path in sorted(found[row]))
        lines.append(f"| {' | '.join(row)} | {tests} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The page with the table as it is now."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    print(table(), end="")
