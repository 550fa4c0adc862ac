"""`meuse sim`: virtual boards without a host, for a host that runs elsewhere."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("sim", epilog="Example: meuse sim weather building --host 127.0.0.1:7878")(sim)


def sim(
    scenarios: Annotated[list[str] | None, typer.Argument(help="stove, weather, building; all if left out.")] = None,
    host: Annotated[str, typer.Option(help="HOST:PORT of the host, for boards on TCP.")] = "127.0.0.1:7878",
    data: Annotated[Path, typer.Option(help="Folder for boards and keys; the host needs the same keys.")] = Path(
        "data"
    ),
    seconds: Annotated[float | None, typer.Option("--for", help="Stop after so many seconds.", min=0)] = None,
) -> None:
    """Run virtual boards: the real firmware in a simulated world."""
    from meuse import foreground
    from meuse.config import parse_address

    parse_address(host, "--host")
    raise typer.Exit(foreground.run_boards(tuple(scenarios or ()), data, host, seconds))
