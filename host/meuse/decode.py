"""From the bytes of one record to rows and columns with names, units and times.

Knows the wire's elements and the catalog; knows no storage. A record that cannot be read is
marked, never dropped: it becomes one row whose text is the record in hexadecimal.
"""

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from meuse_protocol import columns_decode, messages
from meuse_protocol import quality as wire_quality
from meuse_protocol.errors import ContentError, RemoteError
from meuse_protocol.schema import MAX_SID, Schema

from meuse import dating
from meuse.catalog import Facts, fact
from meuse.dating import Dated, Int64s

# Codes of `quality`: those of the wire (1 to 127), and what only the host can say.
GOOD: Final = 0
MISSING: Final = 128  # no value and no reason
NOT_FINITE: Final = 129  # the board sent infinity or not-a-number
UNKNOWN_SCHEMA: Final = 130  # the record's schema has not arrived; text holds the record
UNDECODABLE: Final = 131  # the record's elements make no sense; text holds the record
RAW: Final = 132  # not a reading (log text, result, a type newer than this host); text holds it

_WIRE_NAMES = {
    code: name.lower() for name, code in vars(wire_quality).items() if name.isupper() and isinstance(code, int)
}
_HOST_NAMES = {
    GOOD: "good",
    MISSING: "missing",
    NOT_FINITE: "not_finite",
    UNKNOWN_SCHEMA: "unknown_schema",
    UNDECODABLE: "undecodable",
    RAW: "raw",
}
# Name of every code; a reason that only a newer board knows is shown by its number.
QUALITIES: Final = tuple((_HOST_NAMES | _WIRE_NAMES).get(code, f"code_{code}") for code in range(256))

# Why a record is not written to the lake yet.
NO_SCHEMA: Final = "schema"
NO_CLOCK: Final = "clock"

# The catalog keeps what these say; they are no readings.
_KNOWN_ELSEWHERE: Final = (messages.SCHEMA, messages.BOOT, messages.ANCHOR, messages.GAP)


class Stored(NamedTuple):
    """One row of the journal."""

    id: int
    stream: int
    seq: int
    type: int
    received_ms: int
    record: bytes


class Block(NamedTuple):
    """The rows of one record, column by column.

    `columns[i]` belongs to `channels[i]` = (channel, unit, exp10, flags) and holds, per row, the
    wire's element: an int to be scaled, float, str, bool, bytes, None or the list [-quality].
    """

    stored: Stored
    sid: int | None
    channels: list[tuple[str, str, int, int]]
    columns: list[list[object]]
    times_ms: Int64s
    dated: Dated | None  # None: times_ms is UTC as the board believed it
    boot: int | None  # set: the board had no clock, and times_ms is uptime of this boot
    quality: int  # UNKNOWN_SCHEMA, UNDECODABLE or RAW: one row without a channel; else GOOD
    waits: str | None  # NO_SCHEMA, NO_CLOCK, or nothing to wait for


def decode(stored: Stored, facts: Facts) -> Block | None:
    """The rows of a record; None for records that are no readings and known elsewhere.

    Never raises on what a device sent.
    """
    if stored.type in _KNOWN_ELSEWHERE:
        return None if _makes_sense(stored) else marked(stored, UNDECODABLE)
    if stored.type not in (messages.DATA, messages.SINGLE):
        return marked(stored, RAW)
    try:
        fields = fields_of(stored.record)
        messages.check(fields)
        sid = int(fields[3])  # `check` has made sure that it is one
        if not 1 <= sid <= MAX_SID:
            return marked(stored, UNDECODABLE)  # no schema can ever come for it
        schema = facts.schemas.get((stored.stream, sid))
        if schema is None:
            return marked(stored, UNKNOWN_SCHEMA, sid)
        return _timed(stored, fields, schema, facts)
    except RemoteError:
        return marked(stored, UNDECODABLE)


def marked(stored: Stored, quality: int, sid: int | None = None) -> Block:
    """One undated row that carries the whole record, so that nothing it said is lost."""
    waits = NO_SCHEMA if quality == UNKNOWN_SCHEMA else None
    text: list[list[object]] = [[stored.record.hex()]]
    nowhen = np.zeros(1, dtype=np.int64)
    return Block(stored, sid, [("", "", 0, 0)], text, nowhen, dating.undated(1), None, quality, waits)


def fields_of(record: bytes) -> list[Any]:
    """The whole array [type, stream, seq, ...] of a stored record, with stream 0.

    Raises ContentError. The session has checked sizes and depth before it stored the record, so
    the fast decoder may open it.
    """
    try:
        fields = msgspec.msgpack.decode(messages.splice(record, 0))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise ContentError("msgpack") from error
    if not isinstance(fields, list):
        raise ContentError("not an array")
    return fields


def _makes_sense(stored: Stored) -> bool:
    if stored.type != messages.GAP:
        return fact(stored.stream, stored.type, stored.received_ms, stored.record) is not None
    try:
        messages.check(fields_of(stored.record))
    except RemoteError:
        return False
    return True


def _timed(stored: Stored, fields: list[Any], schema: Schema, facts: Facts) -> Block:
    """The rows of a DATA or SINGLE record, dated if that can be done now."""
    channels = schema.channels
    ticks, columns = columns_decode.decode(fields, len(channels))
    boot = columns_decode.boot_no(fields)
    if not isinstance(boot, int):
        times = _milliseconds(ticks, schema.tick_ms, dating.LAST_MS)
        return Block(stored, schema.sid, channels, columns, times, None, None, GOOD, None)
    uptimes = _milliseconds(ticks, schema.tick_ms, dating.UPTIME_LIMIT_MS)
    anchors = facts.anchors.get((stored.stream, boot), [])
    dated = dating.date_uptime(uptimes, anchors, stored.received_ms)
    waits = NO_CLOCK if dated is None else None
    dated = dated or dating.undated(len(ticks))
    return Block(stored, schema.sid, channels, columns, uptimes, dated, boot, GOOD, waits)


def _milliseconds(ticks: list[int], tick_ms: int, limit_ms: int) -> Int64s:
    """Ticks as milliseconds; what no calendar can show is moved to its edge (and is absurd)."""
    if max(ticks) * tick_ms > limit_ms:
        ticks = [min(tick, limit_ms // tick_ms) for tick in ticks]
    return np.array(ticks, dtype=np.int64) * tick_ms
