"""A parsed TOML file into dataclasses, strictly: what is not a field, of another kind or out of bounds is an error.

Owns what such an error says: the path of the key, and what is likely meant. Knows no setting.
"""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from meuse.errors import ConfigError


def about(
    text: str, low: int | None = None, high: int | None = None, choices: tuple[str, ...] = (), single: bool = False
) -> dict[str, Any]:
    """What a setting is for, in one line, and what it may be; single: a list of one may be written without brackets."""
    return {"about": text, "low": low, "high": high, "choices": choices, "single": single}


def read(cls: type, table: dict[str, Any], name: str) -> Any:
    """An instance of the dataclass `cls`, whose fields have `about` as metadata; raises ConfigError. name: the file."""
    return _table(cls, table, "", name)


def _table(cls: type, table: dict[str, Any], path: str, name: str) -> Any:
    known = {entry.name: entry for entry in dataclasses.fields(cls)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            advice = f"did you mean {path}{near[0]}?" if near else f"known here: {', '.join(known)}"
            raise ConfigError(f"{name}: {path}{key} is not a setting", advice)
    hints = typing.get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{path}{key}", name, known[key].metadata) for key, value in table.items()}
    return cls(**values)


def _value(hint: Any, value: Any, path: str, name: str, allowed: Mapping[Any, Any]) -> Any:
    if typing.get_origin(hint) is list:
        (item,) = typing.get_args(hint)
        if isinstance(value, item) and allowed.get("single"):
            value = [value]
        if not isinstance(value, list):
            form = f"[[{path}]]" if dataclasses.is_dataclass(item) else f"{path} = [...]"
            raise ConfigError(f"{name}: {path} must be a list", f"write {form}")
        return [_value(item, each, f"{path}[{number}]", name, allowed) for number, each in enumerate(value)]
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: {path} must be a table", f"write [{path}]")
        return _table(typing.cast(type, hint), value, f"{path}.", name)
    if not isinstance(value, hint) or isinstance(value, bool) is not (hint is bool):
        words = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
        raise ConfigError(f"{name}: {path} must be {words[hint]}, not {value!r}")
    _check_bounds(value, path, name, allowed)
    return value


def _check_bounds(value: Any, path: str, name: str, allowed: Mapping[Any, Any]) -> None:
    low, high, choices = allowed.get("low"), allowed.get("high"), allowed.get("choices")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{name}: {path} = {value} is outside {low} to {high}")
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(choices)}"
        raise ConfigError(f"{name}: {path} = {value!r} is not allowed", advice)
