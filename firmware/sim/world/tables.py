"""Strict reading of TOML tables: every key known, typed, in range; every error says where and what to do.

Owns the checks; what the keys mean is the business of whoever names them.
"""

import difflib
import tomllib
from fractions import Fraction
from pathlib import Path


class ScenarioError(Exception):
    """A scenario that cannot be played; the message names the file, the place in it and the way out."""


def load(path: Path) -> "Table":
    try:
        with path.open("rb") as f:
            return Table(tomllib.load(f, parse_float=Fraction), path.name)
    except FileNotFoundError:
        raise ScenarioError(f"{path}: no such file") from None
    except tomllib.TOMLDecodeError as e:
        raise ScenarioError(f"{path}: {e}") from None


class Table:
    """One TOML table; each value is taken once, `done()` refuses what nobody took."""

    def __init__(self, values: dict[str, object], where: str) -> None:
        self._values = values
        self._taken: list[str] = []
        self.where = where

    def error(self, what: str) -> ScenarioError:
        return ScenarioError(f"{self.where}: {what}")

    def text(self, key: str, default: str | None = None, choices: tuple[str, ...] = ()) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(f"`{key}` is a text, not {value!r}")
        if choices and value not in choices:
            raise self.error(f"`{key}` is one of {', '.join(choices)}, not {value!r}")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"`{key}` is a whole number from {low} to {high}, not {value!r}")
        return value

    def number(self, key: str, default: int | None = None) -> Fraction:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | Fraction):
            raise self.error(f"`{key}` is a number, not {value!r}")
        return Fraction(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(f"`{key}` is true or false, not {value!r}")
        return value

    def has(self, key: str, value: object) -> bool:
        """Whether this is the key's value; it is not taken."""
        return self._values.get(key) == value

    def integers(self, key: str, low: int, high: int) -> list[int]:
        value = self._take(key, None)
        if not isinstance(value, list) or not value:
            raise self.error(f"`{key}` is a list of whole numbers, not {value!r}")
        return [Table({key: v}, f"{self.where}, {key}[{i}]").integer(key, low, high) for i, v in enumerate(value)]

    def tables(self, key: str) -> list["Table"]:
        """An array of tables; none when the key is missing."""
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self.error(f"`{key}` is written [[{key}]]")
        return [Table(v, f"{self.where}, {key} {i}") for i, v in enumerate(value, start=1)]

    def done(self) -> None:
        for key in self._values:
            if key not in self._taken:
                near = difflib.get_close_matches(key, self._taken, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(self._taken)}"
                raise self.error(f"unknown key `{key}`; {hint}")

    def _take(self, key: str, default: object) -> object:
        self._taken.append(key)
        value = self._values.get(key, default)
        if value is None:
            near = difflib.get_close_matches(key, self._values, 1)
            hint = f"; is `{near[0]}` meant?" if near else ""
            raise self.error(f"`{key}` is missing{hint}")
        return value
