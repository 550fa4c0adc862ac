"""Makes the board's sources small before they are compiled: what is loaded costs heap by the name and by the constant.

Refuses to know what the modules do. Three changes, none of which changes behaviour, and none of which moves a line, so
that a traceback from a board names the line of the source in the repository:
  1. module-level constants (UPPER_CASE, an int or a short text) stand as literals where they are used, also in the
     modules that import them, and are defined no more;
  2. and 3. names become short (short_names.py).
"""

import ast
from collections import Counter
from collections.abc import Iterable

from short_names import shorten_names, shorten_parameters
from source import Module, Value

LONGEST_TEXT = 24  # a constant text longer than this is better kept in one place


def shrink(sources: dict[str, str], keep: Iterable[str] = ()) -> dict[str, str]:
    """`sources`: dotted module name -> text, of all that runs together; -> the same, smaller.

    A package's own file is named package.__init__. keep: names that others use: programs outside `sources`, or the
    interpreter itself.
    """
    used = set(keep)
    for change in (_constants, shorten_names, shorten_parameters):
        modules = {name: Module(name, text) for name, text in sources.items()}
        change(modules, used)
        sources = {name: module.text() for name, module in modules.items()}
    return sources


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
