"""Makes the board's sources small before they are compiled: what is loaded costs heap by the name and by the constant.

Knows Python's syntax only; refuses to know what the modules do. Three changes, none of which changes behaviour, and
none of which moves a line, so that a traceback from a board names the line of the source in the repository:
  1. module-level constants (UPPER_CASE, an int or a short str) stand as literals where they are used, also in the
     modules that import them, and are defined no more;
  2. private names (`_like_this`) become short ones, the same for the same name in all modules;
  3. parameters without a default, which nobody passes by keyword, become short ones.
What stays: every public name, so that what is compiled can still be imported and called by others.
"""

import ast
import itertools
import string
import sys
from pathlib import Path

LONGEST_TEXT = 24  # a constant string longer than this is better kept in one place
Edit = tuple[int, int, int, str]  # line, first byte, end byte, new text
Value = int | str | bytes


class Module:
    """One source file: its tree, and the edits to be made to it."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.lines = [line.encode() for line in text.split("\n")]
        self.tree = ast.parse(text)
        self.edits: list[Edit] = []
        self.gone: set[int] = set()  # ids of nodes in statements taken out
        self.constants: dict[str, Value] = {}

    def edit(self, node: ast.expr | ast.stmt | ast.arg, new: str) -> None:
        """Replaces what `node` spans; further lines it spans become empty."""
        assert node.end_lineno and node.end_col_offset is not None
        for n in range(node.lineno, node.end_lineno + 1):
            first = node.col_offset if n == node.lineno else 0
            end = node.end_col_offset if n == node.end_lineno else len(self.lines[n - 1])
            self.edits.append((n, first, end, new if n == node.lineno else ""))

    def rename_end(self, node: ast.Attribute, new: str) -> None:
        assert node.end_lineno and node.end_col_offset
        end = node.end_col_offset
        self.edits.append((node.end_lineno, end - len(node.attr.encode()), end, new))

    def rename_def(self, node: ast.FunctionDef | ast.ClassDef, new: str) -> None:
        at = self.lines[node.lineno - 1].index(node.name.encode(), node.col_offset)
        self.edits.append((node.lineno, at, at + len(node.name.encode()), new))

    def text(self) -> str:
        for n, first, end, new in sorted(set(self.edits), reverse=True):
            line = self.lines[n - 1]
            self.lines[n - 1] = line[:first] + new.encode() + line[end:]
        return b"\n".join(self.lines).decode()

    def source_of(self, node: ast.ImportFrom) -> str:
        """The full name of the module that `from X import ...` names."""
        if not node.level:
            return node.module or ""
        base = self.name.split(".")[: -node.level]
        return ".".join(base + ([node.module] if node.module else []))


def shrink(sources: dict[str, str], kept: frozenset[str] = frozenset()) -> dict[str, str]:
    """`sources`: dotted module name -> text, of everything that runs together; -> the same, smaller.

    A package's own file is named package.__init__.

    kept: names of constants and private names that somebody outside `sources` uses.
    """
    modules = {name: Module(name, text) for name, text in sources.items()}
    for module in modules.values():
        _refuse(module)
        _find_constants(module, kept)
    while any([_pass_on(module, modules) for module in modules.values()]):
        pass
    for module in modules.values():
        _place_constants(module, modules)
    _rename_private(modules, kept)
    words = {n.arg for m in modules.values() for n in ast.walk(m.tree) if isinstance(n, ast.keyword) if n.arg}
    for module in modules.values():
        _rename_parameters(module, words)
    return {name: module.text() for name, module in modules.items()}


def _refuse(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.JoinedStr):
            raise SystemExit(f"{module.name}:{node.lineno}: use % instead of an f-string in what a board runs")


# -- constants


def _find_constants(module: Module, kept: frozenset[str]) -> None:
    """Fills `constants` and takes their definitions out."""
    stored = [n.id for n in ast.walk(module.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for node in module.tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = _values(node.value, module.constants, len(names) if isinstance(target, ast.Tuple) else 0)
        found = {n.id: v for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name)}
        if len(found) != len(names) or any(
            n != n.upper() or n in kept or stored.count(n) > 1 for n in found
        ):
            continue
        module.constants.update(found)
        module.edit(node, "pass")
        module.gone.update(id(n) for n in ast.walk(node))


def _values(node: ast.expr, known: dict[str, Value], several: int) -> list[Value]:
    """What the expression is worth, [] if that is not known before it runs."""
    if several and isinstance(node, ast.Tuple):
        return [v for e in node.elts for v in _values(e, known, 0)]
    safe = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Name, ast.Load, ast.Call)
    for n in ast.walk(node):
        if not isinstance(n, safe) or (isinstance(n, ast.Name) and n.id not in known and n.id != "range"):
            return []
    value = eval(compile(ast.Expression(node), "constant", "eval"), {"range": range}, dict(known))
    if several:
        return list(value) if isinstance(value, range) else []
    fits = type(value) is int or (isinstance(value, str | bytes) and len(value) <= LONGEST_TEXT)
    return [value] if fits else []


def _pass_on(module: Module, modules: dict[str, Module]) -> bool:
    """A module that imports a constant offers it in turn -> whether that was news."""
    before = len(module.constants)
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom):
            constants = _offered(module.source_of(node), modules)
            for alias in node.names:
                if alias.name in constants:
                    module.constants[alias.asname or alias.name] = constants[alias.name]
    return len(module.constants) > before


def _offered(name: str, modules: dict[str, Module]) -> dict[str, Value]:
    module = modules.get(name) or modules.get(name + ".__init__")
    return module.constants if module else {}


def _place_constants(module: Module, modules: dict[str, Module]) -> None:
    values = dict(module.constants)
    named: dict[str, dict[str, Value]] = {}  # local name of a module -> its constants
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            source = module.source_of(node)
            constants = _offered(source, modules)
            left = []
            for alias in node.names:
                if f"{source}.{alias.name}" in modules:
                    named[alias.asname or alias.name] = modules[f"{source}.{alias.name}"].constants
                if alias.name in constants:
                    values[alias.asname or alias.name] = constants[alias.name]
                else:
                    left.append(alias.name + (f" as {alias.asname}" if alias.asname else ""))
            if len(left) < len(node.names):
                dotted = "." * node.level + (node.module or "")
                module.edit(node, f"from {dotted} import {', '.join(left)}" if left else "pass")
    for node in ast.walk(module.tree):
        if id(node) in module.gone:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in values:
            module.edit(node, _literal(values[node.id]))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            constants = named.get(node.value.id, {})
            if node.attr in constants:
                module.edit(node, _literal(constants[node.attr]))


def _literal(value: Value) -> str:
    return f"({value})" if isinstance(value, int) and value < 0 else repr(value)


# -- names


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def _short(prefix: str) -> "itertools.chain[str]":
    letters = string.ascii_lowercase
    return itertools.chain(
        (prefix + a for a in letters), (prefix + a + b for a in letters for b in letters)
    )


def _rename_private(modules: dict[str, Module], kept: frozenset[str]) -> None:
    """The names used most often get the shortest; the same everywhere, so that nothing can come apart."""
    places: dict[str, list[tuple[Module, ast.AST]]] = {}
    fixed = set(kept)
    for module in modules.values():
        for node in ast.walk(module.tree):
            if id(node) in module.gone:
                continue
            if isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.Name):
                name = node.id
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = node.name
            elif isinstance(node, ast.arg):
                name = node.arg
            else:
                if isinstance(node, ast.Global | ast.Nonlocal):
                    fixed.update(node.names)
                if isinstance(node, ast.ImportFrom | ast.Import):
                    fixed.update(a.name for a in node.names)
                if isinstance(node, ast.keyword) and node.arg:
                    fixed.add(node.arg)
                continue
            if _private(name) and name not in module.constants:
                places.setdefault(name, []).append((module, node))
    new = (n for n in _short("_") if n not in places)
    for name in sorted(set(places) - fixed, key=lambda n: (-len(places[n]), n)):
        short = next(new)
        for module, node in places[name]:
            if isinstance(node, ast.Attribute):
                module.rename_end(node, short)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                module.rename_def(node, short)
            elif isinstance(node, ast.arg):
                module.edits.append((node.lineno, node.col_offset, node.col_offset + len(name), short))
            elif isinstance(node, ast.Name):
                module.edit(node, short)


def _rename_parameters(module: Module, words: set[str]) -> None:
    for function in ast.walk(module.tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        inside = list(ast.walk(function))
        if any(isinstance(n, ast.FunctionDef | ast.Lambda | ast.Nonlocal | ast.Global) for n in inside[1:]):
            continue
        taken = {n.id for n in inside if isinstance(n, ast.Name)} | {a.arg for a in _parameters(function)}
        taken |= {n.attr for n in inside if isinstance(n, ast.Attribute)}
        new = (n for n in _short("") if n not in taken)
        optional = len(function.args.defaults)
        plain = function.args.args
        for arg in plain[: len(plain) - optional]:
            if len(arg.arg) < 3 or arg.arg in words or _private(arg.arg):
                continue
            short = next(new)
            module.edits.append((arg.lineno, arg.col_offset, arg.col_offset + len(arg.arg), short))
            for n in inside:
                if isinstance(n, ast.Name) and n.id == arg.arg:
                    module.edit(n, short)


def _parameters(function: ast.FunctionDef) -> list[ast.arg]:
    a = function.args
    return a.posonlyargs + a.args + a.kwonlyargs + [x for x in (a.vararg, a.kwarg) if x]


def main() -> None:
    """shrink.py OUT FILE...: each FILE is below a folder named as its package, which lies in a source folder."""
    out, *files = map(Path, sys.argv[1:])
    named = {".".join(f.with_suffix("").parts[-len(f.parts) :]): f for f in files}
    for name, text in shrink({n: f.read_text() for n, f in named.items()}).items():
        target = out / (name.replace(".", "/") + ".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main()
