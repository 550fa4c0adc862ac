"""`meuse send`: ask a board for something, by way of the running host's database, and follow what becomes of it."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meuse.cli.query import Config, Data
from meuse.journal.sql import Database

if TYPE_CHECKING:
    from meuse.commands.table import Command, Request
    from meuse.journal.place import Place

LOOK_S = 0.1

# After the expiry a RESULT may still be under way, on a slow link.
PATIENCE_S = 30.0

EXAMPLE = 'Example: meuse send stove-1 heater on=1 --done-when "flue_temp > 60 within 8 min" --wait'


def register(app: typer.Typer) -> None:
    app.command("send", epilog=EXAMPLE)(send)


def send(
    device: Annotated[str, typer.Argument(help="Which board.")],
    op: Annotated[str, typer.Argument(help="One of its ops; safe: all outputs to their safe state.")],
    arg: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE of the op: on=1, value=50, lease=30s.")] = None,
    expires: Annotated[str, typer.Option(help="If the board has not begun by then it never will.")] = "5m",
    condition: Annotated[str | None, typer.Option("--if", help="Only if the board measures this just now.")] = None,
    done_when: Annotated[
        str | None, typer.Option("--done-when", help="Done when this is measured; else it is made safe.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show its states, until it is settled.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm a dangerous op without being asked.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Renew its lease until Ctrl-C; give it one, such as lease=30s.")
    ] = False,
    ident: Annotated[str | None, typer.Option("--id", help="The same id is the same command, sent once.")] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Ask a board to do something."""
    import secrets

    from meuse.checks import host_runs
    from meuse.clock import Clock
    from meuse.commands import lease, table, words
    from meuse.commands.table import Request
    from meuse.config import load_with
    from meuse.errors import ConfigError, NotReachable
    from meuse.invocation import meuse
    from meuse.journal.place import place_of
    from meuse.query.selection import parse_length

    settings = load_with(config, data)
    if settings.upstream.url:
        raise ConfigError(f"commands come from the host upstream, {settings.upstream.url}", "send it there")
    where = place_of(settings)
    until, within_ms = words.done_when(done_when) if done_when is not None else (None, None)
    expires_ms = Clock().utc_ms() + parse_length(expires, "--expires")
    given = words.arguments(arg or [], condition)
    request = Request(ident or secrets.token_hex(6), device, op, given, expires_ms, until, within_ms, yes)
    lease_ms = lease.lease_of(request) if keep else 0
    if not host_runs(where):
        raise NotReachable(f"no host runs on {where}", f"start one: {meuse('run')}")
    _ask(where, request)
    if not wait and not keep:
        print(f"{request.id} queued")
        return
    command = _follow(where, request, lease_ms)
    if keep and command.state == table.DONE:
        _keep(where, request, lease_ms)
    raise typer.Exit(_status(command))


def _ask(where: "Place", request: "Request") -> None:
    from meuse.clock import Clock
    from meuse.commands import table
    from meuse.query.selection import known_or_raise

    def work(db: "Database") -> None:
        known_or_raise("device", [request.device], {name for (name,) in db.execute("SELECT device FROM devices")})
        table.ask(db, request, Clock().utc_ms())

    write_between(where, work)


def write_between(where: "Place", work: Any) -> None:
    """One short transaction between those of the host."""
    db = where.open_writer()
    try:
        db.execute("BEGIN IMMEDIATE")
        work(db)
        db.execute("COMMIT")
    except where.errors as error:
        raise where.told(error) from error
    finally:
        db.close()


def _follow(where: "Place", request: "Request", lease_ms: int) -> "Command":
    """Prints the states as they come, until it is settled or nobody can be expected to answer any more.

    lease_ms: renewed meanwhile, if it is not 0.
    """
    import time

    from meuse.clock import Clock
    from meuse.commands import lease, table
    from meuse.query.follow import moment

    db = where.open_reader()
    position = 0
    asked = False
    renewed = time.monotonic()
    try:
        while True:
            command = table.find(db, request.id)
            for at, at_ms, state, detail in table.states(db, request.id, position):
                position = at
                print(f"{moment(at_ms)}  {state}{': ' if detail else ''}{detail}", flush=True)
            assert command is not None
            if command.state in table.SETTLED:
                return command
            if command.state == table.SENT and Clock().utc_ms() > command.expires_ms + PATIENCE_S * 1000:
                return command
            if command.prepared_ms and command.started_ms is None and not command.confirmed and not asked:
                asked = True
                _confirm(where, request)
            if lease_ms and command.started_ms and time.monotonic() - renewed > lease_ms / 1_000 / lease.SHARE:
                renewed = time.monotonic()
                _renew(where, request)
            time.sleep(LOOK_S)
    finally:
        db.close()


def _confirm(where: "Place", request: "Request") -> None:
    """A person has seen what the board said of its state."""
    from meuse.commands import table

    if not sys.stdin.isatty():
        print("a dangerous op: say --yes to have it confirmed", file=sys.stderr)
    elif typer.confirm(f"{request.op} on {request.device} now?"):
        write_between(where, lambda db: table.confirm(db, request.id))


def _keep(where: "Place", request: "Request", lease_ms: int) -> None:
    """Signs of life, until Ctrl-C; HostError when the output is not this command's any more."""
    import contextlib
    import time

    from meuse.commands import lease

    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(lease_ms / 1_000 / lease.SHARE)
            _renew(where, request)


def _renew(where: "Place", request: "Request") -> None:
    from meuse.clock import Clock
    from meuse.commands import lease, table

    def renew(db: "Database") -> None:
        known = table.find(db, request.id)
        assert known is not None
        lease.renew(db, known, Clock().utc_ms(), Clock().utc_ms())

    write_between(where, renew)


def _status(command: "Command") -> int:
    """0 done, 1 failed, 3 not reachable."""
    from meuse.commands import table

    if command.state == table.DONE:
        return 0
    return 3 if command.state == table.SENT or (command.state == table.EXPIRED and command.cid is None) else 1
