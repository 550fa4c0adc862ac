"""`meuse work`: a worker behind a NATS JetStream cluster, until a signal."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Group(StrEnum):
    """What the workers of a group do with every batch."""

    STORE = "store"
    TOPICS = "topics"


HELP = "store: write readings to the PostgreSQL of store.url; topics: publish them at the broker of mqtt.url."


def register(app: typer.Typer) -> None:
    app.command("work", epilog="Example: meuse work store --config /etc/meuse/meuse.toml")(work)


def work(
    group: Annotated[Group, typer.Argument(help=HELP)],
    config: Annotated[Path | None, typer.Option(help="Settings; without it ./meuse.toml if there is one.")] = None,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop by itself after so many seconds.", min=0)] = None,
) -> None:
    """Take batches of records from the cluster and do a group's work on them; start as many as are needed."""
    from meuse.cluster import workers
    from meuse.config import load

    raise typer.Exit(workers.run(group.value, load(config), seconds))
