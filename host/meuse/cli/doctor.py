"""`meuse doctor`: looks at everything, changes nothing, says what to do next."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("doctor", epilog="Example: meuse doctor --config meuse.toml")(doctor)


def doctor(
    config: Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the host's data.")] = None,
) -> None:
    """Check settings, disk, ports, keys, journal and readers; status 1 when something must be put right."""
    from meuse import checks, findings
    from meuse.config import load_with

    raise typer.Exit(findings.report(checks.check_all(load_with(config, data))))
