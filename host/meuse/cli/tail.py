"""`meuse tail`: new readings as they become durable, until Ctrl-C; reads only."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meuse.cli.pipe import until_reader_leaves
from meuse.cli.query import Channels, Config, Data, Devices, place

if TYPE_CHECKING:
    from meuse.query.follow import Follower

# How soon a reading is shown after it is durable.
LOOK_S = 0.3


def register(app: typer.Typer) -> None:
    app.command("tail", epilog="Example: meuse tail --device stove-1 --channel flue_temp")(tail)


def tail(
    device: Devices = None,
    channel: Channels = None,
    records: Annotated[int, typer.Option("--records", "-n", min=0, help="Begin with so many earlier records.")] = 3,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, csv or jsonl; a table unless piped, then csv."),
    ] = None,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop by itself after so many seconds.", min=0)] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Follow new readings as they are stored."""
    import time

    from meuse import catalog
    from meuse.errors import ConfigError
    from meuse.query.follow import Follower, newest
    from meuse.query.output import FORMATS, line_writer
    from meuse.query.selection import Selection
    from meuse.query.store import check_names

    form = form or ("table" if sys.stdout.isatty() else "csv")
    if form not in FORMATS:
        raise ConfigError(f"there is no format {form!r}", f"use {', '.join(FORMATS)}")
    end = None if seconds is None else time.monotonic() + seconds
    there = place(config, data)
    db = there.open_reader()
    try:
        selection = Selection(tuple(device or ()), tuple(channel or ()))
        check_names(db, catalog.load(db), selection)
        follower = Follower(db, selection, max(0, newest(db) - records))
        write = line_writer(form, sys.stdout)
        with until_reader_leaves():
            while True:
                _show(follower, write)
                left = LOOK_S if end is None else min(LOOK_S, end - time.monotonic())
                if left <= 0:
                    return
                time.sleep(left)
    except KeyboardInterrupt:
        return
    except there.errors as error:
        raise there.told(error) from error
    finally:
        db.close()


def _show(follower: "Follower", write: Any) -> None:
    for row in follower.rows():
        write(row)
    sys.stdout.flush()
