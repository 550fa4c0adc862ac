"""`meuse run`: the host in the foreground, until a signal, or for so many seconds."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("run", epilog="Example: meuse run --serial '/dev/serial/by-id/*' --tcp 0.0.0.0:7878")(run)


def run(
    config: Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder for everything that is kept.")] = None,
    tcp: Annotated[list[str] | None, typer.Option(help="HOST:PORT to listen on.")] = None,
    udp: Annotated[list[str] | None, typer.Option(help="HOST:PORT to listen on for datagrams.")] = None,
    serial: Annotated[list[str] | None, typer.Option(help="Port: path, glob or usb:SERIALNUMBER.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check everything, start nothing.")] = False,
    sim: Annotated[bool, typer.Option("--sim", help="Start three virtual boards as well.")] = False,
    board: Annotated[
        list[str] | None, typer.Option(help="Start this virtual board as well: a name, or an example's folder.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop by itself after so many seconds.", min=0)] = None,
) -> None:
    """Carry readings from boards into storage."""
    from meuse import foreground
    from meuse.config import load_with
    from meuse.sim import ALL

    settings = load_with(config, data, tcp, serial, udp)
    boards = (*(ALL if sim else ()), *(board or ()))
    if check:
        raise typer.Exit(foreground.check(settings, bool(boards)))
    raise typer.Exit(foreground.run(settings, boards, seconds))
