"""Reads the body of a SCHEMA record back; host side, a board need not import it."""

from .errors import ContentError
from .schema import MAX_CHANNELS, MAX_SID, Schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

MAX_TICK_MS = 3600000
MAX_NAME = 32
MAX_UNIT = 16
MAX_EXP10 = 18  # 10^18 is the last power of ten that fits 64 bits


def from_body(body: "list[Any]") -> Schema:
    """The Schema a SCHEMA record holds; `body` is what follows seq. ContentError if it makes none."""
    sid, name, tick_ms, rows = (body + [None] * 4)[:4]
    _must(_within(sid, 1, MAX_SID), "sid")
    _must(_is_name(name), "schema name")
    _must(_within(tick_ms, 1, MAX_TICK_MS), "tick_ms")
    _must(isinstance(rows, list) and 0 < len(rows) <= MAX_CHANNELS, "channels")
    return Schema(sid, name, tick_ms, [_channel(row) for row in rows])


def _channel(row: "Any") -> tuple[str, str, int, int]:
    _must(isinstance(row, list), "channel")
    name, unit, exp10, flags = (row + [None] * 4)[:4]
    _must(_is_name(name), "channel name")
    _must(isinstance(unit, str) and len(unit) <= MAX_UNIT, "unit")
    _must(_within(exp10, -MAX_EXP10, MAX_EXP10), "exp10")
    _must(flags is None or _within(flags, 0, 255), "flags")
    return name, unit, exp10, flags or 0


def _must(right: bool, what: str) -> None:
    if not right:
        raise ContentError(what)


def _within(x: "Any", low: int, high: int) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and low <= x <= high


def _is_name(x: "Any") -> bool:
    if not isinstance(x, str) or not 0 < len(x) <= MAX_NAME:
        return False
    return not x.strip("abcdefghijklmnopqrstuvwxyz0123456789_-")
