"""What is in a message: a decoded record as JSON (or msgpack), in pieces that every broker takes.

Works per record and per column, never per value where that can be helped. docs/asyncapi.yaml describes the result.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from meuse import dating, decode, scale
from meuse.catalog import Origin
from meuse.decode import Block
from meuse.topics.names import moment

# A record of 4 kB may hold 65,000 values. nats-server takes 1 MB, others less; and it must fit our own window.
MAX_BYTES: Final = 128 * 1024

GOOD: Final = decode.QUALITIES[decode.GOOD]

Form = dict[str, Any]

to_json: Final = msgspec.json.Encoder().encode
to_msgpack: Final = msgspec.msgpack.Encoder().encode


def readings(block: Block, when: "Timed", origin: Origin, schema: str) -> Form:
    """A DATA or SINGLE record; rows in order of measured time, each with its number in the record."""
    names = [channel for channel, _, _, _ in block.channels]
    scaled = [
        _column(elements, exp10) for elements, (_, _, exp10, _) in zip(block.columns, block.channels, strict=True)
    ]
    stored = block.stored
    form: Form = {
        "tenant": origin.tenant,
        "site": origin.site,
        "device": origin.device,
        "stream": stored.stream,
        "seq": stored.seq,
        "schema": schema,
        "received_at": moment(stored.received_ms),
        "units": {channel: unit for channel, unit, _, _ in block.channels},
    }
    if block.boot is not None:
        form["boot"] = block.boot
    form["rows"] = _rows(block, when, names, scaled)
    return form


class Timed(NamedTuple):
    """When the rows of a block were measured; `newest`: position of the newest whose time can be, None without one."""

    times_ms: dating.Int64s
    codes: dating.Codes
    newest: int | None

    @property
    def newest_ms(self) -> int:
        """Only where there is a newest."""
        assert self.newest is not None
        return int(self.times_ms[self.newest])


def timed(block: Block) -> Timed:
    if block.dated is not None:
        times, codes = block.dated.utc_ms, block.dated.quality
    else:
        times, codes = block.times_ms, dating.utc_quality(block.times_ms, block.stored.received_ms)
    sound = np.flatnonzero((codes != dating.UNDATED) & (codes != dating.ABSURD))
    return Timed(times, codes, int(sound[np.argmax(times[sound])]) if len(sound) else None)


def quality_of(element: object) -> str:
    """Of one element; cheap, since it is asked for every channel of every record."""
    if type(element) in (int, str, bool, bytes):
        return GOOD
    column = scale.scale([element], 0, decode.MISSING, decode.NOT_FINITE)
    return str(decode.QUALITIES[column.quality[0]])


def value_of(element: object, exp10: int) -> float | str | None:
    """Of one element."""
    value: float | str | None = _column([element], exp10)[0][0]
    return value


def pieces(form: Form, encode: Any = to_json) -> Iterator[bytes]:
    """The message; or several with some of the rows each, where one would be too long."""
    payload: bytes = encode(form)
    rows = form["rows"]
    if len(payload) <= MAX_BYTES or len(rows) == 1:
        yield payload
        return
    half = len(rows) // 2
    yield from pieces(form | {"rows": rows[:half]}, encode)
    yield from pieces(form | {"rows": rows[half:]}, encode)


def _rows(block: Block, when: Timed, names: list[str], scaled: list[tuple[list[Any], dict[int, int]]]) -> list[Form]:
    times, codes = when.times_ms, when.codes.tolist()
    texts = np.datetime_as_string(times.astype("datetime64[ms]"), unit="ms").tolist()
    rows: list[Form] = []
    values = list(zip(*(column for column, _ in scaled), strict=True))
    for at in np.argsort(times, kind="stable").tolist():
        code = codes[at]
        row: Form = {
            "row": at,
            "measured_at": None if code == dating.UNDATED else f"{texts[at]}Z",
            "time_quality": dating.TIME_QUALITIES[code],
            "values": dict(zip(names, values[at], strict=True)),
        }
        if block.dated is not None:
            row["uptime_ms"] = int(block.times_ms[at])
        rows.append(row)
    for name, (_, qualities) in zip(names, scaled, strict=True):
        for row in rows if qualities else ():
            if row["row"] in qualities:
                row.setdefault("quality", {})[name] = decode.QUALITIES[qualities[row["row"]]]
    return rows


def _column(elements: list[object], exp10: int) -> tuple[list[Any], dict[int, int]]:
    """(values, row -> quality code of those that are not good)."""
    if set(map(type, elements)) == {int}:  # quicker than an array is made, and Python rounds a quotient once, too
        integers: list[int] = elements  # type: ignore[assignment]
        if exp10 < 0:
            divisor = 10**-exp10
            return [integer / divisor for integer in integers], {}
        return [float(integer * 10**exp10) for integer in integers] if exp10 else integers, {}
    column = scale.scale(elements, exp10, decode.MISSING, decode.NOT_FINITE)
    values: list[Any] = column.value.tolist()
    if column.absent.any():
        for row in np.flatnonzero(column.absent).tolist():
            values[row] = column.texts.get(row)
    bad = np.flatnonzero(column.quality).tolist()
    return values, {row: int(column.quality[row]) for row in bad}
