"""The tables `commands`, `command_states` and `command_cids`: what was asked, what became of it, which ids are used.

Any process may `ask` and `confirm`; everything else is the running host's. All functions are part of the
caller's transaction. A command that is asked again under the same id is the same command.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from meuse_protocol import messages
from meuse_protocol.condition_text import condition_of
from meuse_protocol.errors import MeuseError

from meuse.errors import ConfigError, HostError
from meuse.journal.sql import Database

QUEUED: Final = "queued"  # nobody has told the board
SENT: Final = "sent"  # on its way, or there, until a RESULT is durable
STARTED: Final = "started"  # prepared and waiting for its commit, or done and waiting to be measured
DONE: Final = "done"
FAILED: Final = "failed"
EXPIRED: Final = "expired"  # never started
REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"  # begun, and nobody knows how it ended
SETTLED: Final = (DONE, FAILED, EXPIRED, REFUSED, UNKNOWN)

# Of one device; whoever asks for more is not a person.
WAITING_MAX: Final = 64

# Given by whoever asks; a level of a topic, a part of an address. What the host asks by itself is called ID/safe,
# ID/commit-7, ID/renew-1763913600123, so that nobody else can have taken that name.
ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
OWN_ID: Final = re.compile(ID.pattern + r"(/[a-z0-9-]{1,32})?")

# Should this journal have been put back, the board has seen higher ids than it remembers.
SKIPPED_CIDS: Final = 1000


Facts = dict[str, Any]
"""`answer`: the board's; `measured`: {channel, value, unit, measured_at}."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants. `arg`: [name, value, ...] as it travels; times are UTC, ms since 1970."""

    id: str
    device: str
    op: str
    arg: list[Any]
    expires_ms: int
    done_when: str | None = None  # a condition on readings measured after the act
    within_ms: int | None = None
    confirmed: bool = False  # a dangerous op may run as soon as the board has prepared it
    follows: str | None = None  # id of the command that this one commits, or makes safe


@dataclass(slots=True)
class Command:
    """A row of `commands`."""

    number: int
    id: str
    device: str
    op: str
    arg: list[Any]
    expires_ms: int
    done_when: str | None
    within_ms: int | None
    confirmed: bool
    follows: str | None
    state: str
    stream: int | None
    cid: int | None
    boot: int | None
    uptime_ms: int | None
    since_id: int | None
    answer: Any
    prepared_ms: int | None
    started_ms: int | None


_COLUMNS: Final = (
    "number, id, device, op, arg, expires_ms, done_when, within_ms, confirmed, follows, state,"
    " stream, cid, boot, uptime_ms, since_id, answer, prepared_ms, started_ms"
)


def ask(db: Database, request: Request, now_ms: int) -> None:
    """Queue it, unless its id is known already.

    ConfigError: no board could ever be asked for this. HostError: too many wait for this one.
    """
    try:
        messages.parse(messages.pdu(messages.CMD, 0, 1, [1, 1], request.op, request.arg or None))
        if request.done_when is not None:
            condition_of(request.done_when)
    except MeuseError as error:
        raise ConfigError(f"{request.op} cannot be sent: {error}", "see docs/commands.md") from error
    if not (OWN_ID if request.follows else ID).fullmatch(request.id):
        raise ConfigError(f"{request.id!r} cannot be an id", "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
    (waiting,) = db.execute(
        "SELECT count(*) FROM commands WHERE NOT settled AND device = ? AND id != ?", (request.device, request.id)
    ).fetchone()
    if waiting >= WAITING_MAX:
        raise HostError(f"{waiting} commands wait for {request.device}", "wait for them, or for their expiry")
    done = db.execute(
        "INSERT INTO commands(id, device, op, arg, asked_ms, expires_ms, done_when, within_ms, confirmed,"
        " follows, state) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            request.id,
            request.device,
            request.op,
            json.dumps(request.arg),
            now_ms,
            request.expires_ms,
            request.done_when,
            request.within_ms,
            request.confirmed,
            request.follows,
            QUEUED,
        ),
    )
    if done.rowcount:
        _note(db, request.id, now_ms, QUEUED, "")


def confirm(db: Database, command: str) -> None:
    """Somebody has seen the board's state and says yes."""
    db.execute("UPDATE commands SET confirmed = TRUE WHERE id = ? AND NOT settled", (command,))


def unsettled(db: Database) -> list[Command]:
    """All that are still to be moved on, in the order they were asked."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE NOT settled ORDER BY number")
    return [_command(row) for row in rows]


def find(db: Database, command: str) -> Command | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE id = ?", (command,)).fetchone()
    return None if row is None else _command(row)


def move(db: Database, command: Command, was: str, now_ms: int, detail: str, facts: Facts | None = None) -> bool:
    """Writes the command as it is now, unless it is not any more as it `was`: then another host moved it.

    facts: what the state rests on.
    """
    done = db.execute(
        "UPDATE commands SET state = ?, settled = ?, stream = ?, cid = ?, boot = ?, uptime_ms = ?, since_id = ?,"
        " answer = ?, prepared_ms = ?, started_ms = ? WHERE number = ? AND state = ?",
        (
            command.state,
            command.state in SETTLED,
            command.stream,
            command.cid,
            command.boot,
            command.uptime_ms,
            command.since_id,
            None if command.answer is None else json.dumps(command.answer, default=_hex),
            command.prepared_ms,
            command.started_ms,
            command.number,
            was,
        ),
    )
    if done.rowcount:
        _note(db, command.id, now_ms, command.state, detail, facts)
    return bool(done.rowcount)


def take(db: Database, command: Command) -> bool:
    """Only one host sends it: the first that says so, in the transaction that gives it its id."""
    done = db.execute("UPDATE commands SET state = ? WHERE number = ? AND state = ?", (SENT, command.number, QUEUED))
    return bool(done.rowcount)


def next_cid(db: Database, stream: int) -> int:
    """An id that this stream never had."""
    row = db.execute(
        "INSERT INTO command_cids VALUES(?, 2) ON CONFLICT(stream) DO UPDATE SET next_cid = command_cids.next_cid + 1"
        " RETURNING next_cid - 1",
        (stream,),
    ).fetchone()
    return int(row[0])


def skip_cids(db: Database, stream: int) -> None:
    """The board has seen higher ids than this journal knows of."""
    db.execute("UPDATE command_cids SET next_cid = next_cid + ? WHERE stream = ?", (SKIPPED_CIDS, stream))


def purge(db: Database, before_ms: int) -> None:
    """Drop what is settled and was asked before `before_ms`; its ids stay used."""
    old = "SELECT id FROM commands WHERE settled AND asked_ms < ?"
    db.execute(f"DELETE FROM command_states WHERE command IN ({old})", (before_ms,))
    db.execute("DELETE FROM commands WHERE settled AND asked_ms < ?", (before_ms,))


def states(db: Database, command: str, after: int) -> list[tuple[int, int, str, str]]:
    """(position, at_ms, state, detail) of what became of a command since position `after`."""
    return db.execute(
        "SELECT id, at_ms, state, detail FROM command_states WHERE command = ? AND id > ? ORDER BY id",
        (command, after),
    ).fetchall()


def _note(db: Database, command: str, at_ms: int, state: str, detail: str, facts: Facts | None = None) -> None:
    """Numbered in the order of the commits, so that whoever reads on misses none: one writer at a time."""
    db.execute("UPDATE command_cids SET next_cid = next_cid + 1 WHERE stream = 0")
    known = json.dumps(facts, default=_hex) if facts else None
    db.execute(
        "INSERT INTO command_states(command, at_ms, state, detail, facts) VALUES(?, ?, ?, ?, ?)",
        (command, at_ms, state, detail, known),
    )


def _command(row: tuple[Any, ...]) -> Command:
    known = Command(*row)
    known.arg = json.loads(row[4])
    known.confirmed = bool(known.confirmed)
    known.answer = None if known.answer is None else json.loads(known.answer)
    return known


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
