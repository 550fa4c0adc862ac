"""`meuse import`: files that were carried here, from boards that no network reaches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meuse.cli.devices import table

if TYPE_CHECKING:
    from meuse.importing import Imported
    from meuse.settings import Settings

HEADS = ("file", "device", "stream", "new", "already there", "refused", "damaged")


def register(app: typer.Typer) -> None:
    app.command("import", epilog="Example: meuse import /media/card/*.frames")(import_files)


def import_files(
    files: Annotated[list[Path], typer.Argument(help="A card's files, a logged cable, a console's export.")],
    config: Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the host's data.")] = None,
    ack: Annotated[Path | None, typer.Option(help="One file for all acknowledgements; else FILE.ack.")] = None,
) -> None:
    """Store the records of files that were carried here.

    Works beside a running host and without one; importing again changes nothing. What is stored is acknowledged in
    FILE.ack: carried back on the card, it lets the board forget those records.
    """
    import asyncio

    from meuse.config import load_with
    from meuse.errors import ConfigError

    for path in files:
        if not path.is_file():
            raise ConfigError(f"there is no file {path}", "name files that a board or a cable filled")
    raise typer.Exit(asyncio.run(_import(files, load_with(config, data), ack)))


async def _import(files: list[Path], settings: "Settings", ack: Path | None) -> int:
    from meuse.importing import import_file, opened, problems
    from meuse.journal.place import place_of

    data = Path(settings.host.data)
    done: list[Imported] = []
    async with opened(settings) as door:
        for path in files:
            with _progress(path) as progress:
                done.append(await import_file(path, place_of(settings), door, progress))
    table([HEADS, *(cells for each in done for cells in _rows(each))])
    for each in done:
        if each.cut:
            print(f"{each.path.name} ends in the middle of a frame; what stands before it is taken")
    _acknowledge(done, ack)
    found = [problem for each in done for problem in problems(each, data)]
    for problem in found:
        print(f"meuse: {problem.message}\n  next: {problem.advice}", file=sys.stderr)
    return 1 if found else 0


def _rows(done: "Imported") -> list[tuple[str, ...]]:
    """A line per stream; damage belongs to the file, and stands in its first."""
    name, damaged = done.path.name, str(done.damaged)
    if not done.parts:
        return [(name, "-", "-", "0", "0", "0", damaged)]
    rows: list[tuple[str, ...]] = []
    for part in done.parts:
        counts = map(str, (part.new, part.known, part.refused))
        rows.append((name, part.device or "-", f"{part.stream:08x}", *counts, "0" if rows else damaged))
    return rows


def _acknowledge(done: list["Imported"], one: Path | None) -> None:
    """Writes what goes back to the boards: beside each file, or all into one."""
    if one is not None:
        files = {one: b"".join(each.acks for each in done)}
    else:
        files = {each.path.with_name(each.path.name + ".ack"): each.acks for each in done}
    for path, acks in files.items():
        if acks:
            _write(path, acks)
            print(f"acknowledgements: {path}")


def _write(path: Path, content: bytes) -> None:
    from meuse.errors import HostError

    unfinished = path.with_name(path.name + ".new")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        why = f"all is stored, but {path} cannot be written: {error.strerror}"
        raise HostError(why, "name another file with --ack") from error


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar for people; nothing where nobody looks."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(path.name, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
