"""States of commands as backends get them: over MQTT in order, over HTTP on demand. Reads only."""

import json
from typing import Any, Final, NamedTuple

from meuse.commands import table
from meuse.identity import DEFAULT_SITE, DEFAULT_TENANT
from meuse.journal.sql import Database
from meuse.topics.names import moment

LATEST: Final = 100  # commands in one list


class Told(NamedTuple):
    """One state. `number` rises with every state of any command."""

    number: int
    at_ms: int
    state: str
    detail: str
    facts: str | None
    id: str
    device: str
    tenant: str
    site: str
    op: str
    follows: str | None

    @property
    def inner(self) -> bool:
        """Of a step that belongs to another command, whose own states say how it went."""
        return self.op == "commit" and self.follows is not None


_SELECT: Final = (
    "SELECT s.id, s.at_ms, s.state, s.detail, s.facts, c.id, c.device, coalesce(d.tenant, ?), coalesce(d.site, ?),"
    " c.op, c.follows FROM command_states s JOIN commands c ON c.id = s.command LEFT JOIN devices d USING (device)"
)
_UNSET: Final = (DEFAULT_TENANT, DEFAULT_SITE)


def after(db: Database, number: int, most: int) -> list[Told]:
    """The next states of all commands."""
    rows = db.execute(f"{_SELECT} WHERE s.id > ? ORDER BY s.id LIMIT ?", (*_UNSET, number, most))
    return [Told(*row) for row in rows]


def last(db: Database, command: str, up_to: int) -> Told | None:
    """The newest state of one command among those up to this number."""
    rows = db.execute(
        f"{_SELECT} WHERE s.command = ? AND s.id <= ? ORDER BY s.id DESC LIMIT 1", (*_UNSET, command, up_to)
    )
    return next((Told(*row) for row in rows), None)


def newest(db: Database) -> int:
    """Number of the newest state."""
    (found,) = db.execute("SELECT coalesce(max(id), 0) FROM command_states").fetchone()
    return int(found)


def form(told: Told) -> dict[str, Any]:
    """One state as it is published."""
    found: dict[str, Any] = {
        "tenant": told.tenant,
        "site": told.site,
        "device": told.device,
        "id": told.id,
        "op": told.op,
        "state": told.state,
        "at": moment(told.at_ms),
        "number": told.number,
        "detail": told.detail,
    }
    if told.follows is not None:
        found["follows"] = told.follows
    facts = json.loads(told.facts) if told.facts else {}
    return found | {key: value for key, value in facts.items() if value is not None}


def history(db: Database, command: str) -> dict[str, Any] | None:
    """A command with all its states, oldest first; None where there is none."""
    rows = db.execute(f"{_SELECT} WHERE s.command = ? ORDER BY s.id", (*_UNSET, command))
    states = [form(Told(*row)) for row in rows]
    known = table.find(db, command)
    if known is None or not states:
        return None
    whose = {key: states[-1][key] for key in ("tenant", "site", "device", "id", "op", "state")}
    said = ("state", "at", "number", "detail", "answer", "measured")
    return whose | {
        "settled": known.state in table.SETTLED,
        "expires": moment(known.expires_ms),
        "states": [{key: state[key] for key in said if key in state} for state in states],
    }


def listed(db: Database, device: str) -> list[dict[str, Any]]:
    """A device's newest commands, with the state that each has."""
    rows = db.execute(
        "SELECT id, op, state, asked_ms, expires_ms FROM commands WHERE device = ? AND follows IS NULL"
        " ORDER BY number DESC LIMIT ?",
        (device, LATEST),
    )
    return [
        {"id": id, "op": op, "state": state, "asked_at": moment(asked_ms), "expires": moment(expires_ms)}
        for id, op, state, asked_ms, expires_ms in rows
    ]
