"""What somebody asks for: devices, channels, a time range, a step; and the words to say it in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from meuse.decode import Block
from meuse.errors import ConfigError

_UNITS_MS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_LENGTH = re.compile(r"(\d{1,15})\s*([a-z]+)")
# A thousand years: with it no time of the calendar leaves what DuckDB can count.
_LONGEST_MS: Final = 365_250 * 86_400_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Empty devices or channels: all. `from_ms` is inside the range, `to_ms` is not.

    With a range, undated rows are left out unless `undated` is set.
    """

    devices: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None
    undated: bool = False

    @property
    def ranged(self) -> bool:
        return self.from_ms is not None or self.to_ms is not None

    def wants_device(self, device: str) -> bool:
        return not self.devices or device in self.devices

    def overlaps(self, min_ms: int | None, max_ms: int | None) -> bool:
        """Whether something measured between the two may be in the range."""
        if min_ms is None or max_ms is None:
            return not self.ranged
        after = self.from_ms is None or max_ms >= self.from_ms
        return after and (self.to_ms is None or min_ms < self.to_ms)

    def narrowed(self, block: Block) -> Block | None:
        """The wanted channels of a block; None if there are none. Times are left to SQL."""
        if not self.channels:
            return block
        wanted = [i for i, channel in enumerate(block.channels) if channel[0] in self.channels]
        if not wanted:
            return None
        channels = [block.channels[i] for i in wanted]
        columns = [block.columns[i] for i in wanted]
        return block._replace(channels=channels, columns=columns)


def parse_length(text: str, option: str) -> int:
    """`10s`, `5m`, `1h`, `1d`, `2w`, `500ms` as milliseconds; raises ConfigError."""
    match = _LENGTH.fullmatch(text.strip())
    length_ms = int(match[1]) * _UNITS_MS.get(match[2], 0) if match is not None else 0
    if not 0 < length_ms <= _LONGEST_MS:
        raise ConfigError(f"{option} {text!r} is not a length of time", "write it like 10s, 5m, 1h or 1d")
    return length_ms


def parse_time(text: str, now_ms: int, option: str) -> int:
    """`now`, `-1h`, `2025-11-23` or `2025-11-23T12:00:00+01:00` as UTC milliseconds.

    A time without a zone is UTC. Raises ConfigError.
    """
    text = text.strip()
    if text == "now":
        return now_ms
    if text.startswith("-"):
        try:
            return now_ms - parse_length(text[1:], option)
        except ConfigError:
            raise ConfigError(f"{option} {text!r} is not a time", "write it like -10s, -5m, -1h or -1d") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r} is not a time",
            "write it like -1h, 2025-11-23 or 2025-11-23T12:00:00Z",
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(moment.timestamp() * 1_000)


def known_or_raise(what: str, wanted: Iterable[str], known: set[str]) -> None:
    """ConfigError with the nearest name for the first one that nobody has heard of."""
    import difflib

    for name in wanted:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1)
        listed = ", ".join(sorted(known)[:12]) or "none yet"
        advice = f"did you mean {near[0]}?" if near else f"known: {listed}"
        raise ConfigError(f"there is no {what} {name!r}", advice)
