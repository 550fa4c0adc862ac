"""Makes the board's sources small before they are compiled: what is loaded costs heap by the name and by the constant.

Knows Python's syntax only; refuses to know what the modules do. Three changes, none of which changes behaviour, and
none of which moves a line, so that a traceback from a board names the line of the source in the repository:
  1. module-level constants (UPPER_CASE, an int or a short text) stand as literals where they are used, also in the
     modules that import them, and are defined no more;
  2. private names (`_like_this`), and what one module defines and no other names, become short;
  3. parameters without a default, which nobody passes by keyword, become short.
What stays: names that several modules use, that are passed by keyword, or that stand in a string. A name costs 11 bytes
of heap and its length, once for all modules: short forms are few, and used again in each module.
"""

import ast
import io
import itertools
import socket
import string
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST_TEXT = 24  # a constant text longer than this is better kept in one place
SHORT = 2  # names up to this length gain nothing
# Objects of the interpreter have these names too, beside what CPython's types of the same kind have.
TYPES = (int, str, bytes, bytearray, list, tuple, dict, set, io.BytesIO, io.FileIO, OSError, socket.socket)
MICROPYTHON = frozenset(
    """active config connect digest feed hexdigest ifconfig init ioctl ipoll irq isconnected modify off on poll
    readblocks readfrom readfrom_into readfrom_mem readfrom_mem_into readinto register scan setblocking status
    unregister update value write_readinto writeblocks writeto writeto_mem""".split()
)
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


def shrink(sources: dict[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """`sources`: dotted module name -> text, of all that runs together; -> the same, smaller.

    A package's own file is named package.__init__. keep: names that others use: programs outside `sources`, or the
    interpreter itself.
    """
    used = set(keep)
    for change in (_constants, _names, _parameters):
        modules = {name: Module(name, text) for name, text in sources.items()}
        change(modules, used)
        sources = {name: module.text() for name, module in modules.items()}
    return sources


def words(tree: ast.AST) -> set[str]:
    """Every identifier in a program: what to keep for it."""
    return set(_words(tree))


def _words(tree: ast.AST, deep: bool = True) -> Iterator[str]:
    """Every identifier in a tree, or of one node."""
    for node in ast.walk(tree) if deep else [tree]:
        for field in ("id", "attr", "arg", "name", "asname"):
            if isinstance(word := getattr(node, field, None), str):
                yield word


# -- constants


def _constants(modules: dict[str, Module], used: set[str]) -> None:
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.JoinedStr):
                raise SystemExit(f"{module.name}:{node.lineno}: use % instead of an f-string in what a board runs")
        _find(module, used)
    while any([_pass_on(module, modules) for module in modules.values()]):
        pass
    for module in modules.values():
        _place(module, modules)


def _find(module: Module, used: set[str]) -> None:
    """Fills `constants` and takes their definitions out of text and tree."""
    stored = Counter(n.id for n in ast.walk(module.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    for node in module.tree.body[:]:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        several = len(target.elts) if isinstance(target, ast.Tuple) else 0
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = _values(node.value, module.constants, several)
        found = {n.id: v for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name)}
        if len(found) == len(names) and all(n == n.upper() and n not in used and stored[n] == 1 for n in found):
            module.constants.update(found)
            module.edit(node, "pass")
            module.tree.body.remove(node)


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
    fits = isinstance(value, int) or (isinstance(value, str | bytes) and len(value) <= LONGEST_TEXT)
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


def _place(module: Module, modules: dict[str, Module]) -> None:
    named: dict[str, dict[str, Value]] = {}  # local name of a module -> its constants
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            named.update({a.asname or a.name: _offered(a.name, modules) for a in node.names})
        elif isinstance(node, ast.ImportFrom):
            source = module.source_of(node)
            left = []
            for alias in node.names:
                name = alias.asname or alias.name
                named[name] = _offered(f"{source}.{alias.name}", modules)
                if name not in module.constants or alias.name not in _offered(source, modules):
                    left.append(alias.name + (f" as {alias.asname}" if alias.asname else ""))
            if len(left) < len(node.names):
                dotted = "." * node.level + (node.module or "")
                module.edit(node, f"from {dotted} import {', '.join(left)}" if left else "pass")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in module.constants:
            module.edit(node, _literal(module.constants[node.id]))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            constants = named.get(node.value.id, {})
            if node.attr in constants:
                module.edit(node, _literal(constants[node.attr]))


def _literal(value: Value) -> str:
    return f"({value})" if isinstance(value, int) and value < 0 else repr(value)


# -- names


def _short(prefix: str) -> Iterator[str]:
    letters = string.ascii_letters
    yield from (prefix + a for a in letters)
    yield from (prefix + a + b for a, b in itertools.product(letters, letters))


def _names(modules: dict[str, Module], used: set[str]) -> None:
    """Short forms are shared by what cannot meet: names of different modules, `self._names` of different classes."""
    fixed = used | MICROPYTHON | {name for kind in TYPES for name in dir(kind)}
    ours: set[str] = set()
    places: dict[str, list[tuple[Module, ast.AST]]] = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            fixed.update(_fixed_by(module, node, modules))
            ours.update(_defined_by(node))
            for name in _words(node, deep=False):
                places.setdefault(name, []).append((module, node))
        for statement in module.tree.body:
            if isinstance(statement, ast.Assign):
                ours.update(n.id for n in ast.walk(statement) if isinstance(n, ast.Name))
    begun = tuple(name for name in fixed if name.endswith("_") and len(name) > 1)
    owners = _owners(modules.values())
    homes: dict[str, set[str]] = {}
    for name, found in places.items():
        where = {module.name for module, _ in found}
        if len(name) > SHORT and name not in fixed and not name.startswith(("__", *begun)):
            if name.startswith("_") or (name in ours and len(where) == 1):
                own = {owners.get(id(node), "") for _, node in found}
                homes[name] = own if name.startswith("_") and "" not in own else where
    taken = {name for m in modules.values() for name in _words(m.tree)}
    free = [n for n in itertools.islice(_short("_"), 2000) if n not in taken]
    wide = 0  # so many of them stand for names that occur in several modules
    count: Counter[str] = Counter()  # and so many more for those of one module, or of one class in it
    for name in sorted(homes, key=lambda n: (min(homes[n]).count(":"), -len(homes[n]), -len(places[n]), n)):
        per_class = ":" in min(homes[name])
        if len(homes[name]) > 1 and not per_class:
            new = {"": free[wide]}
            wide += 1
        else:
            new = {home: free[wide + count[home.split(":")[0]] * per_class + count[home]] for home in homes[name]}
            count.update(homes[name])
        for module, node in places[name]:
            home = owners.get(id(node), "") if per_class else module.name
            module.rename(node, name, new.get(home) or new[""])


def _owners(modules: Iterable[Module]) -> dict[int, str]:
    """For each `self.name` and each method: module:class it belongs to; nothing where classes inherit."""
    owners = {}
    for module in modules:
        classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        parents = {base.id for c in classes for base in c.bases if isinstance(base, ast.Name)}
        for c in classes:
            if not c.bases and c.name not in parents:
                for node in ast.walk(c):
                    on = node.value if isinstance(node, ast.Attribute) else None
                    if node in c.body or (isinstance(on, ast.Name) and on.id == "self"):
                        owners[id(node)] = f"{module.name}:{c.name}"
    return owners


def _defined_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [node.attr] if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) else []


def _fixed_by(module: Module, node: ast.AST, modules: dict[str, Module]) -> list[str]:
    """Names that must stay because of this node."""
    if isinstance(node, ast.Global | ast.Nonlocal):
        return node.names
    if isinstance(node, ast.keyword):
        return [node.arg or ""]
    if isinstance(node, ast.Import):
        return [a.asname or a.name for a in node.names]
    if isinstance(node, ast.ImportFrom):
        source = module.source_of(node)
        return [] if source in modules or source + ".__init__" in modules else [a.name for a in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        stranger = module.imported.get(node.value.id)
        return [node.attr] if stranger and stranger not in modules else []
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    return []


def _parameters(modules: dict[str, Module], used: set[str]) -> None:
    words = {n.arg for m in modules.values() for n in ast.walk(m.tree) if isinstance(n, ast.keyword) if n.arg}
    for module in modules.values():
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef):
                _rename_parameters(module, function, words | used)


def _rename_parameters(module: Module, function: ast.FunctionDef, fixed: set[str]) -> None:
    inside = list(ast.walk(function))
    if any(isinstance(n, ast.FunctionDef | ast.Lambda | ast.Nonlocal | ast.Global) for n in inside[1:]):
        return  # a name that reaches into another function is left alone
    taken = {word for n in inside for word in _words(n)}
    free = (n for n in _short("") if n not in taken)
    args = function.args.args
    for arg in args[: len(args) - len(function.args.defaults)]:
        if len(arg.arg) > SHORT and arg.arg not in fixed:
            new = next(free)
            for n in inside:
                if n is arg or (isinstance(n, ast.Name) and n.id == arg.arg):
                    module.rename(n, arg.arg, new)


def main() -> None:
    """shrink.py OUT FILE...: FILEs are named relative to the folder of their package."""
    out, *files = map(Path, sys.argv[1:])
    named = {".".join(f.with_suffix("").parts): f for f in files}
    for name, text in shrink({n: f.read_text() for n, f in named.items()}).items():
        target = out / (name.replace(".", "/") + ".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main()
