"""`meuse sim`: virtual boards without a host, for a host that runs elsewhere."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("sim", epilog="Example: meuse sim stove --links serial,tcp --fault cable --fault network")(sim)


def sim(
    scenarios: Annotated[list[str] | None, typer.Argument(help="stove, weather, building or an example.")] = None,
    host: Annotated[str, typer.Option(help="HOST:PORT of the host, for boards on a network.")] = "127.0.0.1:7878",
    data: Annotated[Path, typer.Option(help="Folder for boards and keys; the host needs the same keys.")] = Path(
        "data"
    ),
    links: Annotated[
        str, typer.Option(help="Such as serial,tcp,udp,cellular,sms,lora,relay: instead of the boards' own.")
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="cable, network, power, modem, air, fire (an alarm), or a scenario's own; cable+fire: both at once."
        ),
    ] = None,
    break_: Annotated[
        list[str] | None, typer.Option("--break", help="On boards that run already: begin such a fault, and return.")
    ] = None,
    mend: Annotated[list[str] | None, typer.Option(help="On boards that run already: end it, and return.")] = None,
    every: Annotated[float, typer.Option(help="Seconds from one fault to the next.", min=1)] = 20.0,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop after so many seconds.", min=0)] = None,
) -> None:
    """Run virtual boards: the real firmware in a simulated world."""
    from meuse import foreground
    from meuse.config import parse_address

    if break_ or mend:
        raise typer.Exit(foreground.switch(tuple(scenarios or ()), data, break_ or [], mend or []))
    parse_address(host, "--host")
    kinds = [kind for kind in links.split(",") if kind]
    raise typer.Exit(foreground.run_boards(tuple(scenarios or ()), data, host, seconds, kinds, fault or [], every))
