"""Bytes per reading of a recorded trace, on four kinds of link, at 1, 10 and 60 rows per frame.

Owns the trace format and the way of counting; asks the protocol for the bytes, as a board would
make them. Opens one file and nothing else.
"""

import csv
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Final, NamedTuple

from meuse_protocol import columns, messages
from meuse_protocol.framing import frame
from meuse_protocol.schema import MAX_CHANNELS

from meuse.errors import ConfigError

ROWS_PER_FRAME: Final = (1, 10, 60)
LINKS: Final = ("payload", "uart", "udp", "mqtt")

_SID: Final = 1
_FIRST_SEQ: Final = 1000  # a stream that has run for a while: three bytes of seq
_FULL_STREAM: Final = 0x80000001
_MAC_BYTES: Final = 8
_UDP_HEADERS: Final = 28  # IPv4 and UDP
_TOPIC_BYTES: Final = 24
_PUBACK_BYTES: Final = 4
_FORMAT: Final = "a trace is CSV: `time` in seconds since 1970, then `channel[unit;decimals]` ..."


class Channel(NamedTuple):
    name: str
    unit: str
    decimals: int


class Trace(NamedTuple):
    """Readings as scaled integers: the value times 10^decimals; None where the cell is empty."""

    channels: list[Channel]
    tick_ms: int  # 1000 if all times are whole seconds, else 1
    times: list[int]  # ticks since 1970
    rows: list[list[int | None]]


def measure(path: Path) -> dict[str, list[float]]:
    """Mean bytes per reading at 1, 10 and 60 rows per frame; ConfigError if it is no trace.

    `payload`: the PDU on a point-to-point link. `uart`: the frame with both zeros. `udp`: full
    stream id, MAC and IPv4/UDP headers. `mqtt`: full stream id, PUBLISH at QoS 1 with a topic of 24
    bytes, and its PUBACK, without TCP/IP. The schema is not counted, the last short batch is.
    """
    trace = read_trace(path)
    totals = {link: [0] * len(ROWS_PER_FRAME) for link in LINKS}
    for i, size in enumerate(ROWS_PER_FRAME):
        for seq, first in enumerate(range(0, len(trace.rows), size), start=_FIRST_SEQ):
            counted = _count(trace, first, first + size, seq)
            for link in LINKS:
                totals[link][i] += counted[link]
    rows = len(trace.rows)
    return {link: [round(total / rows, 3) for total in totals[link]] for link in LINKS}


def _count(trace: Trace, first: int, end: int, seq: int) -> dict[str, int]:
    """Bytes of one batch on each link."""
    times, rows = trace.times[first:end], trace.rows[first:end]
    if len(rows) == 1:
        record = messages.record(messages.SINGLE, seq, *columns.single(_SID, times[0], rows[0]))
    else:
        record = messages.record(messages.DATA, seq, *columns.encode(_SID, times, rows))
    bound = messages.splice(record, 0)
    full = len(messages.splice(record, _FULL_STREAM))
    return {
        "payload": len(bound),
        "uart": 1 + len(frame(bound)),
        "udp": _UDP_HEADERS + full + _MAC_BYTES,
        "mqtt": _publish_bytes(full) + _PUBACK_BYTES,
    }


def _publish_bytes(payload: int) -> int:
    """MQTT 3.1.1, 3.3: type, remaining length of 7 bits a byte, topic, packet id, payload."""
    remaining = 2 + _TOPIC_BYTES + 2 + payload
    length_bytes = 1
    while remaining >> 7 * length_bytes:
        length_bytes += 1
    return 1 + length_bytes + remaining


def read_trace(path: Path) -> Trace:
    """The trace in a CSV file; ConfigError names the file and the line that is wrong."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            header = next(lines, None)
            if not header:
                raise ConfigError(f"{path} is empty", _FORMAT)
            channels = _channels(path, header)
            read = [_row(path, lines.line_num, cells, channels) for cells in lines if cells]
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", _FORMAT) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} is not a CSV file: {error}", _FORMAT) from error
    if not read:
        raise ConfigError(f"{path} has no readings", _FORMAT)
    tick_ms = 1000 if all(time == time.to_integral_value() for time, _ in read) else 1
    times = [_round(time * (1000 // tick_ms)) for time, _ in read]
    return Trace(channels, tick_ms, times, [row for _, row in read])


def _channels(path: Path, header: list[str]) -> list[Channel]:
    if header[0].strip().lstrip("\ufeff") != "time":
        raise ConfigError(f"{path}, line 1: the first column is {header[0]!r}, not `time`", _FORMAT)
    if not 1 < len(header) <= MAX_CHANNELS + 1:
        wrong = f"{len(header) - 1} channels; 1 to {MAX_CHANNELS} are possible"
        raise ConfigError(f"{path}, line 1: {wrong}", _FORMAT)
    return [_channel(path, title.strip()) for title in header[1:]]


def _channel(path: Path, title: str) -> Channel:
    name, bracket, rest = title.partition("[")
    unit, semicolon, decimals = rest.removesuffix("]").rpartition(";")
    shaped = bracket and semicolon and rest.endswith("]") and name
    if not shaped or not decimals.isdecimal() or int(decimals) > 18:
        wrong = f"column {title!r} is not `channel[unit;decimals]` with 0 to 18 decimals"
        raise ConfigError(f"{path}, line 1: {wrong}", _FORMAT)
    return Channel(name, unit, int(decimals))


def _row(
    path: Path, line: int, cells: list[str], channels: list[Channel]
) -> tuple[Decimal, list[int | None]]:
    if len(cells) != len(channels) + 1:
        wrong = f"{len(cells)} cells, but the header has {len(channels) + 1}"
        raise ConfigError(f"{path}, line {line}: {wrong}", _FORMAT)
    time = _number(path, line, "time", cells[0])
    if time is None or not 0 <= time < 1 << 53:
        raise ConfigError(f"{path}, line {line}: time {cells[0]!r} is not possible", _FORMAT)
    row: list[int | None] = []
    for channel, cell in zip(channels, cells[1:], strict=True):
        value = _number(path, line, channel.name, cell)
        scaled = None if value is None else _round(value.scaleb(channel.decimals))
        if scaled is not None and abs(scaled) >= 1 << 62:
            raise ConfigError(f"{path}, line {line}: {channel.name} {cell!r} is too large", _FORMAT)
        row.append(scaled)
    return time, row


def _number(path: Path, line: int, name: str, cell: str) -> Decimal | None:
    """The cell's number; None for an empty one and for NaN, which stand for a missing value."""
    if not cell.strip():
        return None
    try:
        number = Decimal(cell.strip())
    except InvalidOperation:
        number = Decimal("inf")
    if number.is_nan():
        return None
    if number.is_infinite() or number.adjusted() > 30:
        raise ConfigError(f"{path}, line {line}: {name} {cell!r} is not a number", _FORMAT)
    return number


def _round(number: Decimal) -> int:
    """Half away from zero."""
    return int(number.to_integral_value(ROUND_HALF_UP))
