"""What backends write: a command, a yes to one, or a sign of life for its lease, as JSON. Strict, and knows no board.

Whatever comes by way of a broker may have waited there for days. So nothing in it counts from the moment of its
arrival: an expiry is a moment, or a length of time from `sent_at`.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from meuse.commands import words
from meuse.commands.table import ID, Request
from meuse.errors import ConfigError
from meuse.query.selection import parse_length

# Of a request; and of its arguments, so that a command travels in one packet on any link but LoRa.
MAX_BYTES: Final = 4096
ARGUMENTS_MAX: Final = 512

OP: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

# What is settled is forgotten a day later at the earliest (`journal.keep_days`): until then the same id is the same
# command, and from then on its own expiry keeps it from acting a second time.
LONGEST_MS: Final = 86_400_000

# By so much the clocks of host and requester may differ.
AHEAD_MS: Final = 60_000

EXPIRES: Final = "5m"  # where nothing can be held back

FIELDS: Final = (
    "id", "op", "arguments", "lease", "expires", "sent_at", "if", "done_when", "confirm", "renew",
)  # fmt: skip
ADVICE: Final = "see docs/commands.md"


@dataclass(frozen=True, slots=True)
class Confirm:
    """Somebody has seen the board's state and says yes."""

    id: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Whoever asked for this command is still there, or was at `sent_ms`."""

    id: str
    sent_ms: int


Wanted = Request | Confirm | Renew


class Unfit(ConfigError):
    """This cannot be a request; `id` is its id, where that can be read."""

    def __init__(self, id: str | None, message: str) -> None:
        super().__init__(message, ADVICE)
        self.id = id


def read(payload: bytes, device: str, now_ms: int, held_back: bool) -> Wanted:
    """Raises Unfit. held_back: it may have been on its way for long (a broker); else it has come straight."""
    if len(payload) > MAX_BYTES:
        raise Unfit(None, f"more than {MAX_BYTES} bytes")
    try:
        form = json.loads(payload, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unfit(None, f"not JSON: {error}") from error
    if not isinstance(form, dict):
        raise Unfit(None, "not an object")
    id = form.get("id")
    if not isinstance(id, str) or not ID.fullmatch(id):
        why = "no id" if id is None else "this id cannot be"
        raise Unfit(None, f"{why}: 1 to 64 of A-Z, a-z, 0-9, _ and -; what is published twice has one, and acts once")
    try:
        return _wanted(form, id, device, now_ms, held_back)
    except ConfigError as error:
        raise Unfit(id, error.message) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _wanted(form: dict[str, Any], id: str, device: str, now_ms: int, held_back: bool) -> Wanted:
    for name in form:
        if name not in FIELDS:
            raise ConfigError(f"no field is called {name[:40]!r}; there are {', '.join(FIELDS)}")
    sent_ms = _sent(form, now_ms)
    if "op" in form:
        if "renew" in form:
            raise ConfigError("op and renew exclude each other")
        return _request(form, id, device, now_ms, sent_ms, held_back)
    for name in form:
        if name not in ("id", "sent_at", "confirm", "renew"):
            raise ConfigError(f"{name} needs an op")
    confirm, renew = _flag(form, "confirm"), _flag(form, "renew")
    if confirm == renew:
        raise ConfigError("one of op, confirm and renew must be there")
    if confirm:
        return Confirm(id)
    if sent_ms is None and held_back:
        raise ConfigError("renew needs sent_at: it counts from then, not from its arrival")
    return Renew(id, now_ms if sent_ms is None else sent_ms)


def _request(form: dict[str, Any], id: str, device: str, now_ms: int, sent_ms: int | None, held_back: bool) -> Request:
    expires_ms = _expires(form, now_ms, sent_ms, held_back)
    until, within_ms = words.done_when(_text(form, "done_when")) if "done_when" in form else (None, None)
    arg, op = _arguments(form), _text(form, "op")
    if not OP.fullmatch(op):
        raise ConfigError("no op can be called so")
    if len(json.dumps(arg)) > ARGUMENTS_MAX:
        raise ConfigError("the arguments are too long")
    return Request(id, device, op, arg, expires_ms, until, within_ms, _flag(form, "confirm"))


def _arguments(form: dict[str, Any]) -> list[Any]:
    """[name, value, ...] as it travels."""
    given = form.get("arguments", {})
    if not isinstance(given, dict):
        raise ConfigError('arguments must be an object, such as {"on": 1}')
    flat: list[Any] = []
    for name, value in given.items():
        if name in ("if", "lease", "lease_ms"):
            raise ConfigError(f"{name} belongs beside arguments, not into them")
        if not isinstance(value, int | str):
            raise ConfigError(f"argument {name[:40]} must be a whole number, a text, true or false")
        level = words.LEVELS.get(value, value) if isinstance(value, str) else value
        flat += [name, int(level) if isinstance(level, bool) else level]
    if "lease" in form:
        flat += ["lease_ms", parse_length(_text(form, "lease"), "lease")]
    return flat + (words.condition(_text(form, "if")) if "if" in form else [])


def _expires(form: dict[str, Any], now_ms: int, sent_ms: int | None, held_back: bool) -> int:
    """When the board must have begun, UTC ms."""
    if "expires" not in form and held_back:
        raise ConfigError("no expires: a moment, such as 2026-01-01T12:00:00Z, or with sent_at a length, such as 5m")
    text = str(form.get("expires", EXPIRES)) if "expires" not in form else _text(form, "expires")
    if "T" in text:
        expires_ms = _moment(text, "expires")
    elif sent_ms is None and held_back:
        raise ConfigError("expires is a length of time: from which sent_at? A broker may have kept this for days")
    else:
        expires_ms = (now_ms if sent_ms is None else sent_ms) + parse_length(text, "expires")
    if expires_ms > now_ms + LONGEST_MS + AHEAD_MS:
        raise ConfigError("expires is more than a day away")
    return expires_ms


def _sent(form: dict[str, Any], now_ms: int) -> int | None:
    if "sent_at" not in form:
        return None
    sent_ms = _moment(_text(form, "sent_at"), "sent_at")
    if sent_ms > now_ms + AHEAD_MS:
        raise ConfigError("sent_at has not been yet: the clock of requester or host is wrong")
    return min(sent_ms, now_ms)


def _moment(text: str, name: str) -> int:
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            raise ValueError("no zone")
        return round(when.timestamp() * 1_000)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{name} {text[:40]!r} is no moment such as 2026-01-01T12:00:00Z") from error


def _text(form: dict[str, Any], name: str) -> str:
    value = form[name]
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text")
    return value


def _flag(form: dict[str, Any], name: str) -> bool:
    value = form.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false")
    return value
