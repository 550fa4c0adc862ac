"""`meuse devices`: who is known, on which link, how far behind; reads the journal only."""

import typer


def register(app: typer.Typer) -> None:
    app.command("devices", epilog="Example: meuse devices --data data")(devices)


def devices() -> None:
    """Show devices, their streams, links, gaps and backlog."""
    raise typer.Exit(1)
