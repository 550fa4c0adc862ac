"""`meuse frames` and `meuse measure`: for whoever debugs a link or counts its bytes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from meuse.cli.pipe import until_reader_leaves


def register(app: typer.Typer) -> None:
    app.command("frames", epilog="Example: meuse frames capture.bin   or: xxd -p port | meuse frames -")(frames)
    app.command("measure", epilog="Example: meuse measure tests/traces/stove.csv --json")(measure)


def frames(
    file: Annotated[str, typer.Argument(help="Captured bytes, or their hexadecimal text; - reads standard input.")],
) -> None:
    """Open captured bytes as JSON lines.

    One line per frame, text line or piece of damage; MACs are shown, not checked.
    """
    import json

    from meuse import frames as captured

    data = captured.capture(_bytes(file))
    with until_reader_leaves():
        for item in captured.frames(data):
            print(json.dumps(item, ensure_ascii=False))


def measure(
    trace: Annotated[Path, typer.Argument(help="CSV with `time,channel[unit;decimals],...`.")],
    as_json: Annotated[bool, typer.Option("--json", help="payload, uart, udp, mqtt: each a list of three.")] = False,
) -> None:
    """Count the bytes per reading of a trace.

    On four kinds of link, at 1, 10 and 60 readings per frame; the last short batch counts too.
    """
    import json

    from meuse import measure as measuring

    counted = measuring.measure(trace)
    if as_json:
        print(json.dumps(counted))
        return
    titles = [f"{rows}/frame" for rows in measuring.ROWS_PER_FRAME]
    print("bytes per reading".ljust(20) + "".join(title.rjust(10) for title in titles))
    for link, bytes_ in counted.items():
        print(link.ljust(20) + "".join(f"{mean:10.3f}" for mean in bytes_))


def _bytes(file: str) -> bytes:
    from meuse.errors import ConfigError

    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", "name a file, or - for standard input") from error
