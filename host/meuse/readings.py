"""Rows of the logical table in memory: blocks of decoded records gathered into arrays.

Owns the order of rows (device, channel, schema, measured time, seq, row; undated last) and the
arrays' layout. Strings stand once in small tables beside the rows; logical.py joins them in SQL.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from meuse import dating, decode, scale
from meuse.catalog import Facts, Origin
from meuse.decode import Block, Stored

NONE: Final = -1  # stands for NULL in boot, uptime_ms and schema_id, which are never negative
UNDATED_MS: Final = np.iinfo(np.int64).max  # sorts last; NULL in the table

Array = npt.NDArray[np.generic]


class Series(NamedTuple):
    """What all values of one channel under one schema share. No channel: a marked record."""

    device: str
    channel: str
    unit: str
    stream: int
    schema_id: int
    tenant: str
    site: str


class Arrays(NamedTuple):
    """`rows`: column name -> array, all of one length. `series`, `texts`: looked up by position;
    texts[0] stands for no text."""

    rows: dict[str, Array]
    series: list[Series]
    texts: list[str | None]

    @property
    def length(self) -> int:
        return len(self.rows["series"])


@dataclass(slots=True)
class _Group:
    """Blocks of one stream under one schema: their columns run on, their times are parallel."""

    channels: list[tuple[str, str, int, int]]
    columns: list[list[object]]
    stored: list[Stored] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    times: list[dating.Int64s] = field(default_factory=list)  # UTC; UNDATED_MS if there is none
    codes: list[dating.Codes] = field(default_factory=list)
    uptimes: list[dating.Int64s] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)
    quality: int = decode.GOOD


class Readings:
    """Takes blocks in any order; `arrays` gives them as one sorted table."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._groups: dict[tuple[int, int, int], _Group] = {}
        self.values = 0  # rows of the table so far

    def add(self, block: Block) -> None:
        sid = NONE if block.sid is None else block.sid
        key = (block.stored.stream, sid, block.quality)
        group = self._groups.get(key)
        if group is None:
            group = _Group(block.channels, [[] for _ in block.channels], quality=block.quality)
            self._groups[key] = group
        length = len(block.times_ms)
        for column, elements in zip(group.columns, block.columns, strict=True):
            column.extend(elements)
        group.stored.append(block.stored)
        group.lengths.append(length)
        group.boots.append(NONE if block.boot is None else block.boot)
        if block.dated is None:
            group.times.append(block.times_ms)
            group.codes.append(dating.utc_quality(block.times_ms, block.stored.received_ms))
            group.uptimes.append(np.full(length, NONE, np.int64))
        else:
            code = block.dated.quality
            dated = np.where(code == dating.UNDATED, UNDATED_MS, block.dated.utc_ms)
            group.times.append(dated)
            group.codes.append(code)
            uptime = block.times_ms if block.quality == decode.GOOD else np.full(length, NONE)
            group.uptimes.append(uptime)
        self.values += length * len(block.channels)

    def arrays(self) -> Arrays:
        """Everything added so far, sorted by series, then measured time, seq and row."""
        parts: list[tuple[Series, dict[str, Array], dict[int, str]]] = []
        for (stream, sid, _), group in self._groups.items():
            parts.extend(_parts(self._facts.origin(stream), stream, sid, group))
        parts.sort(key=lambda part: (part[0], part[1]["quality"][0]))
        texts: list[str | None] = [None]
        series: list[Series] = []
        tables: list[dict[str, Array]] = []
        for own, table, own_texts in parts:
            length = len(table["seq"])
            text = np.zeros(length, np.int32)
            for row, body in own_texts.items():
                text[row] = len(texts)
                texts.append(body)
            tables.append({"series": np.full(length, len(series), np.int32), "text": text} | table)
            series.append(own)
        if not tables:
            return Arrays({name: np.zeros(0, kind) for name, kind in COLUMNS.items()}, [], texts)
        rows = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
        return Arrays(rows, series, texts)


COLUMNS: Final[dict[str, type[np.generic]]] = {
    "series": np.int32,
    "text": np.int32,
    "measured_ms": np.int64,
    "time_quality": np.uint8,
    "value": np.float64,
    "absent": np.bool_,
    "quality": np.uint8,
    "received_ms": np.int64,
    "seq": np.int64,
    "row": np.int32,
    "boot": np.int64,
    "uptime_ms": np.int64,
}


def _parts(
    origin: Origin, stream: int, sid: int, group: _Group
) -> list[tuple[Series, dict[str, Array], dict[int, str]]]:
    """Per channel: its series, its columns and its texts by row, sorted by time."""
    shared, order = _shared(group)
    parts = []
    for (channel, unit, exp10, _), elements in zip(group.channels, group.columns, strict=True):
        column = scale.scale(elements, exp10, decode.MISSING, decode.NOT_FINITE)
        own: dict[str, Array] = {
            "value": column.value[order],
            "absent": column.absent[order],
            "quality": column.quality[order] if channel else np.full_like(order, group.quality),
        }
        texts = column.texts
        if texts:
            place = np.argsort(order)
            texts = {int(place[row]): body for row, body in texts.items()}
        series = Series(origin.device, channel, unit, stream, sid, origin.tenant, origin.site)
        parts.append((series, shared | own, texts))
    return parts


def _shared(group: _Group) -> tuple[dict[str, Array], npt.NDArray[np.int64]]:
    """The columns that all channels of a group have in common, and the order that sorts them."""
    lengths = np.array(group.lengths, np.int64)
    starts = np.cumsum(lengths) - lengths

    def per_row(values: list[int]) -> dating.Int64s:
        return np.repeat(np.array(values, np.int64), lengths)

    shared: dict[str, Array] = {
        "measured_ms": np.concatenate(group.times),
        "time_quality": np.concatenate(group.codes),
        "received_ms": per_row([stored.received_ms for stored in group.stored]),
        "seq": per_row([stored.seq for stored in group.stored]),
        "row": (np.arange(lengths.sum()) - np.repeat(starts, lengths)).astype(np.int32),
        "boot": per_row(group.boots),
        "uptime_ms": np.concatenate(group.uptimes),
    }
    order = np.lexsort((shared["row"], shared["seq"], shared["measured_ms"]))
    return {name: column[order] for name, column in shared.items()}, order
