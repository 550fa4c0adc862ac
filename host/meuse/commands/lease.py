"""Keeps an output on while whoever asked for it is there: signs of life become renewals of its lease on the board.

A sign counts for the command that still has the output, while its lease runs, and soon after it was sent: one that
was held back for long renews nothing. All functions are part of the caller's transaction.
"""

import json
from typing import Any, Final

from meuse.commands import table
from meuse.commands.table import Command, Request
from meuse.errors import ConfigError, HostError
from meuse.journal.sql import Database

# Ask so often within one lease: two signs may get lost.
SHARE: Final = 3


def lease_of(command: Command | Request) -> int:
    """As it was asked for, ms; ConfigError where it was not."""
    given = dict(zip(command.arg[::2], command.arg[1::2], strict=False))
    lease = given.get("lease_ms")
    if not isinstance(lease, int):
        raise ConfigError(f"{command.id} was asked for without a lease", "add one, such as 30s")
    return lease


def renew(db: Database, command: Command, sent_ms: int, now_ms: int) -> None:
    """Queue a renewal, unless one is under way; ConfigError or HostError says why there cannot be one."""
    lease_ms = lease_of(command)
    output = _output(command.answer)
    acted_ms = _acted_ms(db, command)
    if output is None or acted_ms is None or command.state not in (table.STARTED, table.DONE):
        raise HostError(f"{command.id} is {command.state}: there is nothing to renew")
    if now_ms >= acted_ms + lease_ms:
        raise HostError(f"the lease of {command.id} is over")
    if now_ms >= sent_ms + lease_ms // SHARE:
        raise HostError("this sign of life is too old: it renews nothing")
    if _taken(db, command, output):
        raise HostError(f"another command has {output} now")
    open_one = "SELECT 1 FROM commands WHERE follows = ? AND op = 'renew' AND NOT settled"
    if db.execute(open_one, (command.id,)).fetchone() is None:
        expires_ms = min(sent_ms + lease_ms // SHARE, acted_ms + lease_ms)
        arg = ["output", output]
        renewal = Request(f"{command.id}/renew-{sent_ms}", command.device, "renew", arg, expires_ms, follows=command.id)
        table.ask(db, renewal, now_ms)


def _acted_ms(db: Database, command: Command) -> int | None:
    """When its lease began last, as far as the host knows: by the act, or by a renewal."""
    begun: list[int] = [] if command.started_ms is None else [command.started_ms]
    rows = db.execute(
        "SELECT at_ms FROM command_states WHERE state = 'done' AND"
        " (command = ? OR command IN (SELECT id FROM commands WHERE follows = ? AND op = 'renew' AND state = 'done'))",
        (command.id if command.started_ms is None else "", command.id),
    )
    return max([*begun, *(at_ms for (at_ms,) in rows)], default=None)


def _taken(db: Database, command: Command, output: str) -> bool:
    """Whether a later command has, or may get, this output."""
    rows = db.execute(
        "SELECT op, answer, settled FROM commands WHERE device = ? AND number > ? AND follows IS NULL",
        (command.device, command.number),
    )
    for op, answer, settled in rows:
        if (not settled and op == command.op) or (answer and _output(_json(answer)) == output):
            return True
    return False


def _json(text: str) -> Any:
    return json.loads(text)


def _output(value: object) -> str | None:
    """Which output a RESULT names."""
    return value[0] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) else None
