"""A command as people write it: `heater on=1 lease=30s`, `--if "flue_temp < 60"`, `--done-when "... within 8 min"`."""

import re
from typing import Any

from meuse_protocol.condition_text import condition_of
from meuse_protocol.errors import LocalError

from meuse.errors import ConfigError
from meuse.query.selection import parse_length

LEVELS = {"on": 1, "true": 1, "yes": 1, "off": 0, "false": 0, "no": 0}
_WITHIN = re.compile(r"(.+)\swithin\s+(\d+)\s*([a-z]+)")


def arguments(words: list[str], given: str | None) -> list[Any]:
    """[name, value, ...] as it travels; given: a condition. ConfigError says which word is wrong."""
    flat: list[Any] = []
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name or not text:
            raise ConfigError(f"{word!r} is not NAME=VALUE", "for example on=1")
        if name == "lease":
            flat += ["lease_ms", parse_length(text, "lease")]
        else:
            flat += [name, _value(text)]
    return flat if given is None else flat + condition(given)


def condition(text: str) -> list[Any]:
    """The argument that makes a command depend on what the board measures; ConfigError."""
    try:
        return ["if", condition_of(text)]
    except LocalError as error:
        raise ConfigError(f"if {text!r}: {error}", 'for example "flue_temp < 60"') from error


def done_when(text: str) -> tuple[str, int]:
    """(condition, ms) of "CONDITION within TIME"; ConfigError."""
    found = _WITHIN.fullmatch(text.strip())
    advice = 'for example "flue_temp > 60 within 8 min"'
    if found is None:
        raise ConfigError(f"done_when {text!r} does not say within which time", advice)
    try:
        condition_of(found[1])
    except LocalError as error:
        raise ConfigError(f"done_when {text!r}: {error}", advice) from error
    return found[1].strip(), parse_length(found[2] + found[3], "done_when")


def _value(text: str) -> int | str:
    if text in LEVELS:
        return LEVELS[text]
    try:
        return int(text)
    except ValueError:
        return text
