"""`meuse devices`: who is known, on which link, how far behind; reads the journal only."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meuse.cli.pipe import until_reader_leaves

if TYPE_CHECKING:
    from meuse.roster import Entry

HEADS = ("device", "state", "link", "heard", "stored", "lost", "waiting", "ack", "stream")


def register(app: typer.Typer) -> None:
    app.command("devices", epilog="Example: meuse devices --data data")(devices)


def devices(
    config: Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the host's data.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Streams that were replaced as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per stream.")] = False,
) -> None:
    """Show devices, their streams, links, gaps and backlog."""
    from meuse import roster
    from meuse.checks import host_runs
    from meuse.clock import Clock
    from meuse.config import load_with
    from meuse.invocation import meuse
    from meuse.journal.place import place_of, reading

    place = place_of(load_with(config, data))
    with reading(place) as db:
        entries = roster.read(db, everything)
    runs = host_runs(place)
    with until_reader_leaves():
        if as_json:
            for entry in entries:
                print(json.dumps(entry._asdict() | {"online": entry.online and runs}))
            return
        table([HEADS, *(_cells(entry, runs, Clock().utc_ms()) for entry in entries)])
        if not runs:
            print(f"no host is running on this data; start one: {meuse('run')}")


def _cells(entry: "Entry", runs: bool, now_ms: int) -> tuple[str, ...]:
    state = "closed" if entry.closed else "here" if entry.online and runs else "away" if entry.link else "never seen"
    return (
        entry.device,
        state,
        entry.link or "-",
        _ago(now_ms - entry.heard_ms) if entry.heard_ms else "-",
        str(entry.stored),
        str(entry.lost),
        str(entry.awaited),
        f"{entry.ack_ms} ms" if entry.ack_ms is not None else "-",
        f"{entry.stream:08x}" if entry.stream else "-",
    )


def _ago(span_ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if span_ms >= 2 * size:
            return f"{span_ms // size} {unit} ago"
    return f"{max(0, span_ms) // 1000} s ago"


def table(rows: list[tuple[str, ...]]) -> None:
    """Prints rows in columns; the first row is the heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
