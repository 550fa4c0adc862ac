"""Gives names that nobody else uses short forms: a name costs a board 11 bytes of heap and its length, once for all
modules, so short forms are few and are used again wherever they cannot meet.

Private names (`_like_this`), and what one module defines and no other names, become short; so do parameters without a
default that nobody passes by keyword. What stays: names that several modules use, that are passed by keyword, or that
stand in a string, where getattr may look for them ("do_" stands for all that begin so).
"""

import ast
import io
import itertools
import socket
import ssl
import string
from collections import Counter
from collections.abc import Iterable, Iterator

from source import Module, each_word

SHORT = 2  # names up to this length gain nothing
# Objects of the interpreter have these names too, beside what CPython's types of the same kind have.
TYPES = (int, str, bytes, bytearray, list, tuple, dict, set, io.BytesIO, io.FileIO, OSError, socket.socket)
TYPES += (ssl.SSLContext,)  # its `verify_mode` under a short name would verify nothing, without a word
MICROPYTHON = frozenset(
    """active config connect digest feed hexdigest ifconfig init ioctl ipoll irq isconnected modify off on poll
    readblocks readfrom readfrom_into readfrom_mem readfrom_mem_into readinto register scan setblocking status
    unregister update value verify_mode write_readinto writeblocks writeto writeto_mem""".split()
)


def _short(prefix: str) -> Iterator[str]:
    letters = string.ascii_letters
    yield from (prefix + a for a in letters)
    yield from (prefix + a + b for a, b in itertools.product(letters, letters))


def shorten_names(modules: dict[str, Module], used: set[str]) -> None:
    """Short forms are shared by what cannot meet: names of different modules, `self._names` of different classes."""
    fixed = used | MICROPYTHON | {name for kind in TYPES for name in dir(kind)}
    ours: set[str] = set()
    places: dict[str, list[tuple[Module, ast.AST]]] = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            fixed.update(_fixed_by(module, node, modules))
            ours.update(_defined_by(node))
            for name in each_word(node, deep=False):
                places.setdefault(name, []).append((module, node))
        for statement in module.tree.body:
            if isinstance(statement, ast.Assign):
                ours.update(n.id for n in ast.walk(statement) if isinstance(n, ast.Name))
    begun = tuple(name for name in fixed if name.endswith("_") and len(name) > 1)
    owners = _owners(modules.values())
    homes: dict[str, set[str]] = {}
    free_to = {n for n in places if len(n) > SHORT and n not in fixed and not n.startswith(("__", *begun))}
    for name, found in places.items():
        where = {module.name for module, _ in found}
        if name in free_to:
            inherits = any(owners.get(id(node), m.name).split(":")[0] != m.name for m, node in found)
            if name.startswith("_") or (name in ours and len(where) == 1 and not inherits):
                own = {owners.get(id(node), "") for _, node in found}
                homes[name] = own if name.startswith("_") and "" not in own else where
    taken = {name for m in modules.values() for name in each_word(m.tree)}
    free = [n for n in itertools.islice(_short("_"), 2000) if n not in taken]
    others = {n: places[n] for n in free_to & ours if n not in homes or ":" not in min(homes[n])}
    shared = _classes_of(others, modules.values(), owners)
    wide = _share(shared, others, free)  # so many stand for attributes, and for names that occur in several modules
    homes = {name: home for name, home in homes.items() if name not in shared}
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


def _classes_of(
    places: dict[str, list[tuple[Module, ast.AST]]], modules: Iterable[Module], owners: dict[int, str]
) -> dict[str, set[str]]:
    """Name -> the classes that define it, of names that are attributes of classes of ours and no module's.

    Whoever reads such a name, wherever it is, reads it from an object of one of these classes.
    """
    elsewhere = {node.attr for m in modules for node in ast.walk(m.tree) if _set_from_outside(node, owners)}
    for module in modules:
        bodies = [module.tree.body, *(n.body for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef))]
        for statement in itertools.chain(*bodies):
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                elsewhere.update(n.id for n in ast.walk(statement) if isinstance(n, ast.Name))
    found: dict[str, set[str]] = {}
    for name in places.keys() - elsewhere:
        nodes = [node for _, node in places[name] if not isinstance(node, ast.Name | ast.arg)]
        made = [n for n in nodes if not isinstance(n, ast.Attribute) or isinstance(n.ctx, ast.Store)]
        if made and all(id(node) in owners for node in made):
            found[name] = {owners[id(node)] for node in made}
    return found


def _set_from_outside(node: ast.AST, owners: dict[int, str]) -> bool:
    return isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and id(node) not in owners


def _share(classes: dict[str, set[str]], places: dict[str, list[tuple[Module, ast.AST]]], free: list[str]) -> int:
    """Renames attributes; two share a short form unless one class has both -> how many forms were needed."""
    taken: list[set[str]] = []  # of each short form the classes that have it
    for name in sorted(classes, key=lambda n: (-len(classes[n]), -len(places[n]), n)):
        at = next((i for i, homes in enumerate(taken) if not homes & classes[name]), len(taken))
        taken[at:] = taken[at:] or [set()]
        taken[at] |= classes[name]
        for module, node in places[name]:
            if not isinstance(node, ast.Name | ast.arg):  # a variable of that name is something else
                module.rename(node, name, free[at])
    return len(taken)


def _owners(modules: Iterable[Module]) -> dict[int, str]:
    """For each `self.name` and each method: module:class it belongs to, the base where classes of ours inherit.

    Nothing for heirs of what is not ours: what names those have is not to be seen.
    """
    modules = list(modules)
    bases: dict[str, list[str]] = {}  # module:class -> those it inherits from, "" for what is not ours
    found: list[tuple[str, ast.ClassDef]] = []
    for module in modules:
        classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
        known = {c.name: f"{module.name}:{c.name}" for c in classes} | _imported(module)
        for c in classes:
            names = [base.id if isinstance(base, ast.Name) else "" for base in c.bases]
            bases[f"{module.name}:{c.name}"] = [known.get(name, "") for name in names]
            found.append((f"{module.name}:{c.name}", c))
    owners = {}
    for home, c in found:
        while len(bases.get(home, [])) == 1:
            home = bases[home][0]
        if bases.get(home) == []:
            owners.update((id(node), home) for node in ast.walk(c) if node in c.body or _on_self(node))
    return owners


def _imported(module: Module) -> dict[str, str]:
    """Local name -> module:name of what is imported at the top."""
    found = [node for node in module.tree.body if isinstance(node, ast.ImportFrom)]
    return {a.asname or a.name: f"{module.source_of(node)}:{a.name}" for node in found for a in node.names}


def _on_self(node: ast.AST) -> bool:
    """Whether this is `self.name` or `super().name`."""
    on = node.value if isinstance(node, ast.Attribute) else None
    if isinstance(on, ast.Call):
        return isinstance(on.func, ast.Name) and on.func.id == "super"
    return isinstance(on, ast.Name) and on.id == "self"


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


def shorten_parameters(modules: dict[str, Module], used: set[str]) -> None:
    words = {n.arg for m in modules.values() for n in ast.walk(m.tree) if isinstance(n, ast.keyword) if n.arg}
    for module in modules.values():
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef):
                _rename_parameters(module, function, words | used)


def _rename_parameters(module: Module, function: ast.FunctionDef, fixed: set[str]) -> None:
    inside = list(ast.walk(function))
    if any(isinstance(n, ast.FunctionDef | ast.Lambda | ast.Nonlocal | ast.Global) for n in inside[1:]):
        return  # a name that reaches into another function is left alone
    taken = {word for n in inside for word in each_word(n)}
    free = (n for n in _short("") if n not in taken)
    args = function.args.args
    for arg in args[: len(args) - len(function.args.defaults)]:
        if len(arg.arg) > SHORT and arg.arg not in fixed:
            new = next(free)
            for n in inside:
                if n is arg or (isinstance(n, ast.Name) and n.id == arg.arg):
                    module.rename(n, arg.arg, new)
