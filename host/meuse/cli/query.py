"""`meuse query` and `meuse export`: what is stored, as rows, steps or gaps; reads only."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from meuse.cli.pipe import until_reader_leaves

if TYPE_CHECKING:
    import duckdb

    from meuse.journal.place import Place
    from meuse.query.selection import Selection

T = TypeVar("T")

# The options that both commands share.
Config = Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the host's data.")]
Devices = Annotated[list[str] | None, typer.Option("--device", "-d", help="Device id; may be repeated.")]
Channels = Annotated[list[str] | None, typer.Option("--channel", "-c", help="Channel; may be repeated.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="Start, included: -1h, 2025-11-23, 2025-11-23T12:00:00Z."),
]
To = Annotated[str | None, typer.Option("--to", help="End, not included; written like --from, or now.")]
Step = Annotated[str | None, typer.Option("--step", help="One row per 10s, 5m, 1h ... instead of every reading.")]
Stats = Annotated[str | None, typer.Option("--stat", help="With --step: of mean,min,max,last,count; all if left out.")]
Last = Annotated[bool, typer.Option("--last", help="Of each channel only the newest row.")]
Gaps = Annotated[bool, typer.Option("--gaps", help="What is missing instead of what is there.")]
Undated = Annotated[bool, typer.Option("--undated", help="With --from or --to: rows without a measured time too.")]
Sql = Annotated[
    str | None,
    typer.Option("--sql", help="Own SQL over readings, gaps, devices, boots, schemas, events."),
]


def register(app: typer.Typer) -> None:
    app.command("query", epilog="Example: meuse query --device stove-1 --channel flue_temp --from -1h --step 1m")(query)
    app.command("export", epilog="Example: meuse export --from 2025-11-01 november.xlsx")(export)


def query(
    device: Devices = None,
    channel: Channels = None,
    from_: From = None,
    to: To = None,
    step: Step = None,
    stat: Stats = None,
    last: Last = False,
    gaps: Gaps = False,
    undated: Undated = False,
    sql: Sql = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, csv or jsonl; a table unless piped, then csv."),
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Show stored readings, also while the host is running."""
    from meuse.errors import ConfigError
    from meuse.query import ask, output, store

    form = form or ("table" if sys.stdout.isatty() else "csv")
    if form not in output.FORMATS:
        raise ConfigError(f"there is no format {form!r}", f"use {', '.join(output.FORMATS)}")
    selection = _selection(device, channel, from_, to, undated, sql)
    with until_reader_leaves(), store.opened(place(config, data), selection) as db:
        asked = _sql(db, selection, step, stat, last, gaps, sql)
        if form == "table" and not (step or gaps or sql):
            asked = ask.glance(asked)
        count = _run(lambda: output.write(db, asked, form), sql)
        sys.stdout.flush()
        if not sql and not gaps:
            _notes(db, selection, count)
        if gaps and db.execute(ask.count_gaps(selection)).fetchall()[0][3]:
            _say("a power cut costs up to so many records: the numbers the board had reserved, used or not")


def export(
    file: Annotated[Path, typer.Argument(help="Name ends in .csv, .jsonl, .parquet or .xlsx.")],
    device: Devices = None,
    channel: Channels = None,
    from_: From = None,
    to: To = None,
    step: Step = None,
    stat: Stats = None,
    last: Last = False,
    gaps: Gaps = False,
    undated: Undated = False,
    sql: Sql = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl, parquet or xlsx, whatever the name.")
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Write stored readings to a file.

    Every column of the table; nothing is filled in. A file that is there is replaced at the end.
    """
    from meuse.query import export as exporting
    from meuse.query import store

    form = exporting.form_of(file, form)
    selection = _selection(device, channel, from_, to, undated, sql)
    with store.opened(place(config, data), selection) as db:
        asked = _sql(db, selection, step, stat, last, gaps, sql)
        count = _run(lambda: exporting.export(db, asked, file, form), sql)
        print(f"{count} rows in {file}")
        if not sql and not gaps:
            _notes(db, selection, count)


def place(config: Path | None, data: Path | None) -> "Place":
    """The data folder that was named, or that the settings name, and where its journal is."""
    from meuse.config import load_with
    from meuse.journal.place import place_of

    return place_of(load_with(config, data))


def _selection(
    devices: list[str] | None,
    channels: list[str] | None,
    from_: str | None,
    to: str | None,
    undated: bool,
    sql: str | None,
) -> "Selection":
    from meuse.clock import Clock
    from meuse.errors import ConfigError
    from meuse.query.selection import Selection, parse_time

    if sql is not None and (devices or channels or from_ or to or undated):
        raise ConfigError("--sql says itself what it wants", "put device and time into its WHERE")
    now_ms = Clock().utc_ms()
    from_ms = None if from_ is None else parse_time(from_, now_ms, "--from")
    to_ms = None if to is None else parse_time(to, now_ms, "--to")
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise ConfigError("--from is not before --to", "the end itself is not part of the range")
    return Selection(tuple(devices or ()), tuple(channels or ()), from_ms, to_ms, undated)


def _sql(
    db: "duckdb.DuckDBPyConnection",
    selection: "Selection",
    step: str | None,
    stat: str | None,
    last: bool,
    gaps: bool,
    sql: str | None,
) -> str:
    from meuse.errors import ConfigError
    from meuse.query import ask, output
    from meuse.query.selection import known_or_raise, parse_length

    if sum([step is not None, last, gaps, sql is not None]) > 1:
        raise ConfigError("--step, --last, --gaps and --sql exclude each other", "use one of them")
    if stat and not step:
        raise ConfigError("--stat needs --step", "add for example --step 1h")
    if sql is not None:
        if not sql.strip():
            raise ConfigError("--sql is empty", 'for example --sql "SELECT * FROM readings LIMIT 10"')
        return _run(lambda: output.one_statement(db, sql), sql)
    if last:
        return ask.last(selection)
    if gaps:
        return ask.gaps(selection)
    if step is None:
        return ask.rows(selection)
    wanted = [name.strip() for name in stat.split(",")] if stat else list(ask.STATISTICS)
    known_or_raise("statistic", wanted, set(ask.STATISTICS))
    return ask.steps(selection, parse_length(step, "--step"), wanted)


def _run(work: Callable[[], T], sql: str | None) -> T:
    """Do the work; a mistake in somebody's own SQL is theirs to hear about."""
    import duckdb

    from meuse.errors import ConfigError, HostError
    from meuse.invocation import meuse

    try:
        return work()
    except duckdb.Error as error:
        if sql:
            advice = meuse('query --sql "DESCRIBE readings"') + " shows the columns"
            raise ConfigError(f"SQL: {error}", advice) from error
        raise HostError(f"the query failed: {error}", "narrow it with --from or --device") from error


def _notes(db: "duckdb.DuckDBPyConnection", selection: "Selection", count: int) -> None:
    """On standard error: what the rows above do not show."""
    from meuse.invocation import meuse
    from meuse.query import ask

    if selection.ranged and not selection.undated:
        (hidden,) = db.execute(ask.undated(selection)).fetchall()[0]
        if hidden:
            _say(f"{hidden} rows without a measured time are not shown; add --undated")
    (gaps, records, unknown, cuts) = db.execute(ask.count_gaps(selection)).fetchall()[0]
    if gaps:
        lost = f"{gaps} gap{'s' * (gaps > 1)}: {'up to ' * bool(cuts)}{records}{' and an unknown number' * unknown}"
        _say(f"{lost} records are lost; {meuse('query --gaps')} says when and why")
    if not count:
        _say("no readings match")


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
