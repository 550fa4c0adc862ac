"""One Python source as a text that is edited name by name, lines staying where they are. Knows syntax, no purpose."""

import ast
from collections.abc import Iterator

Value = int | str | bytes


class Module:
    """One source file: its tree, and the edits to be made to it."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.lines = [line.encode() for line in text.split("\n")]
        self.tree = ast.parse(text)
        self.edits: set[tuple[int, int, int, str]] = set()  # line, first byte, end byte, new text
        self.constants: dict[str, Value] = {}
        imports = [node for node in ast.walk(self.tree) if isinstance(node, ast.Import)]
        self.imported = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}

    def edit(self, node: ast.expr | ast.stmt, new: str) -> None:
        """Replaces what `node` spans; further lines it spans become empty."""
        assert node.end_lineno and node.end_col_offset is not None
        for n in range(node.lineno, node.end_lineno + 1):
            first = node.col_offset if n == node.lineno else 0
            end = node.end_col_offset if n == node.end_lineno else len(self.lines[n - 1])
            self.edits.add((n, first, end, new if n == node.lineno else ""))

    def rename(self, node: ast.AST, old: str, new: str) -> None:
        """Replaces the name `old` that `node` (a definition, a use, an import) carries."""
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.alias) and node.asname == old):
            line, first = node.end_lineno or 0, (node.end_col_offset or 0) - len(old)
        else:
            line, first = node.lineno, node.col_offset  # type: ignore[attr-defined]
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = self.lines[line - 1].index(b" " + old.encode(), first) + 1
        self.edits.add((line, first, first + len(old), new))

    def text(self) -> str:
        for n, first, end, new in sorted(self.edits, reverse=True):
            line = self.lines[n - 1]
            self.lines[n - 1] = line[:first] + new.encode() + line[end:]
        return b"\n".join(self.lines).decode()

    def source_of(self, node: ast.ImportFrom) -> str:
        """The full name of the module that `from X import ...` names."""
        base = self.name.split(".")[: -node.level] if node.level else []
        return ".".join(base + ([node.module] if node.module else []))


def words(tree: ast.AST) -> set[str]:
    """Every identifier in a program: what to keep for it."""
    return set(each_word(tree))


def each_word(tree: ast.AST, deep: bool = True) -> Iterator[str]:
    """Every identifier in a tree, or of one node."""
    for node in ast.walk(tree) if deep else [tree]:
        for field in ("id", "attr", "arg", "name", "asname"):
            if isinstance(word := getattr(node, field, None), str):
                yield word
