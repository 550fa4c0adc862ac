"""Joins modules that are always loaded together into one, before it is compiled: a module costs a board 300 bytes.

Knows Python's scopes only; refuses to know what the modules do. The sources are put one after the other, as they are,
in the order in which they import each other; imports between them go, and names that two of them define get different
ones. Other modules import from the new one what they imported from the old ones.
"""

import ast
import builtins
from collections.abc import Iterable, Iterator

from source import Module

SCOPES = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Key = tuple[str, str]  # module and name where something is defined; of what is not ours: "" and how it is imported


class Joined:
    """`modules`: name -> Module of those to be joined; the one that results is called `name`."""

    def __init__(self, modules: dict[str, Module], name: str):
        self.name = name
        self.modules = modules
        self.imports = {module: dict(_imports(module)) for module in modules.values()}
        self.defined = {module: set(_defined(module.tree.body)) for module in modules.values()}
        self.names: dict[Key, str] = {}
        self._taken = set(dir(builtins))  # and what functions call their own, lest it hide something
        for module in modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, SCOPES):
                    self._taken.update(_bound(node))
        for module in modules.values():
            for word in sorted(self.defined[module] | set(self.imports[module])):
                self.unique(self.key(module, word))

    def key(self, module: Module, word: str) -> Key:
        """What a global name of a module means, wherever it was defined."""
        if word not in self.imports[module]:
            return module.name, word
        source, original = self.imports[module][word]
        if source not in self.modules:
            return "", f"{source} {original}"
        return self.key(self.modules[source], original)

    def unique(self, key: Key) -> str:
        if key not in self.names:
            base = key[1].split(" ")[-1]
            at = next(i for i in range(100) if (base if not i else f"{base}{i}") not in self._taken)
            self.names[key] = f"{base}{at}" if at else base
            self._taken.add(self.names[key])
        return self.names[key]

    def order(self) -> list[Module]:
        """Each module after those it imports."""
        done: list[Module] = []

        def visit(module: Module) -> None:
            for source, original in self.imports[module].values():
                for name in (source, f"{source}.{original}"):
                    if name in self.modules and self.modules[name] not in done and name != module.name:
                        visit(self.modules[name])
            if module not in done:
                done.append(module)

        for module in self.modules.values():
            visit(module)
        return done


def bundle(sources: dict[str, str], together: Iterable[str], name: str) -> dict[str, str]:
    """`sources`: dotted name -> text; those named in `together` become the module `name`; the others import from it."""
    everything = {n: Module(n, text) for n, text in sources.items()}
    for module in everything.values():
        _drop_types(module)
    joined = Joined({n: everything.pop(n) for n in together}, name)
    seen: set[Key] = set()
    texts = []
    for module in joined.order():
        _rewrite(module, joined, seen)
        texts.append(module.text())
    for module in everything.values():
        _redirect(module, joined)
    return {name: "\n".join(texts), **{n: m.text() for n, m in everything.items()}}


def _drop_types(module: Module) -> None:
    """What only type checkers read."""
    for node in module.tree.body[:]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            module.edit(node, "pass")
            module.tree.body.remove(node)


def _imports(module: Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """Local name -> (module, name there) of everything imported at the top."""
    for node in module.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, ("import", alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, (module.source_of(node), alias.name)


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        else:
            yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _rewrite(module: Module, joined: Joined, seen: set[Key]) -> None:
    """Gives every global name its unique form; takes imports between the joined out, others come once."""
    for statement in module.tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _rewrite_import(module, statement, joined, seen)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            module.rename(statement, statement.name, joined.unique((module.name, statement.name)))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            raise SystemExit(f"{module.name}:{node.lineno}: no global statement in what is joined")
        if isinstance(node, ast.ImportFrom) and node not in module.tree.body:
            if module.source_of(node) in joined.modules:
                raise SystemExit(f"{module.name}:{node.lineno}: import what is joined at the top")
            names = ", ".join(f"{a.name} as {a.asname}" if a.asname else a.name for a in node.names)
            module.edit(node, f"from {module.source_of(node)} import {names}")  # no longer beside it
    inside = set()
    for node in _globals(module.tree, set()):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            part = _module_of(module, node.value.id, joined)
            if part:
                inside.add(node.value)
                module.edit(node, joined.unique(joined.key(part, node.attr)))
        elif isinstance(node, ast.Name) and node not in inside:
            if node.id in joined.defined[module] or node.id in joined.imports[module]:
                module.rename(node, node.id, joined.unique(joined.key(module, node.id)))


def _module_of(module: Module, word: str, joined: Joined) -> Module | None:
    """The joined module that a global name stands for, if it stands for one."""
    source, original = joined.imports[module].get(word, ("", ""))
    return joined.modules.get(f"{source}.{original}")


def _rewrite_import(module: Module, node: ast.Import | ast.ImportFrom, joined: Joined, seen: set[Key]) -> None:
    left = []
    for alias in node.names:
        word = alias.asname or alias.name
        key = joined.key(module, word)
        if key[0] or key in seen or _module_of(module, word, joined):
            continue
        seen.add(key)
        unique = joined.unique(key)
        left.append(alias.name if unique == alias.name else f"{alias.name} as {unique}")
    words = ", ".join(left)
    if isinstance(node, ast.Import):
        module.edit(node, f"import {words}" if left else "pass")
    else:
        module.edit(node, f"from {module.source_of(node)} import {words}" if left else "pass")


def _redirect(module: Module, joined: Joined) -> None:
    """A module that is not joined imports from the new one."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{module.source_of(node)}.{alias.name}" in joined.modules:
                    raise SystemExit(f"{module.name}:{node.lineno}: import names of {alias.name}: it is joined")
        if isinstance(node, ast.ImportFrom) and module.source_of(node) in joined.modules:
            part = joined.modules[module.source_of(node)]
            names = [(joined.unique(joined.key(part, a.name)), a.asname or a.name) for a in node.names]
            words = ", ".join(unique if unique == word else f"{unique} as {word}" for unique, word in names)
            module.edit(node, f"from {joined.name} import {words}")


def _globals(node: ast.AST, local: set[str]) -> Iterator[ast.AST]:
    """The names that are looked up in the module, and attributes of such, outermost first."""
    if isinstance(node, SCOPES):
        outside = _evaluated_outside(node)
        for child in outside:
            yield from _globals(child, local)
        local = local | set(_bound(node))
        for child in _parts(node):
            if child not in outside:
                yield from _globals(child, local)
        return
    if isinstance(node, ast.ClassDef):
        own = local | set(_defined(node.body))
        for child in node.body:
            yield from _globals(child, local if isinstance(child, ast.FunctionDef) else own)
        for base in node.bases:
            yield from _globals(base, local)
        return
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in local:
        yield node
    if isinstance(node, ast.Name) and node.id not in local:
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _globals(child, local)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """What a node consists of; of comprehensions also the parts of their `for`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.comprehension):
            yield from ast.iter_child_nodes(child)
        else:
            yield child


def _evaluated_outside(node: ast.AST) -> list[ast.AST]:
    """Defaults and decorators of a function, and what a comprehension goes through, belong to the scope around."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        found: list[ast.AST] = [d for d in [*node.args.defaults, *node.args.kw_defaults] if d]
        return found + (list(node.decorator_list) if isinstance(node, ast.FunctionDef) else [])
    assert isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
    return [node.generators[0].iter]


def _bound(scope: ast.AST) -> Iterator[str]:
    """Names that a function, lambda or comprehension binds for itself."""
    if isinstance(scope, ast.FunctionDef | ast.Lambda):
        a = scope.args
        yield from (x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg] if x)
    pending = list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            continue
        if isinstance(node, SCOPES):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (a.asname or a.name for a in node.names)
        pending.extend(ast.iter_child_nodes(node))
