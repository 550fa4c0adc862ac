"""Opens the columns of DATA and SINGLE records: every check before anything is allocated.

Host side; a board need not import it. Knows no schema: values stay the scaled ints of the wire, a
missing value is None or, with a reason, [-q].
"""

from collections import namedtuple

from .bit_block import BitBlock
from .columns import MAX_K
from .errors import ContentError, LimitError
from .messages import DATA, SINGLE
from .msgpack import MAX_DEPTH, MAX_ITEMS, get
from .schema import MAX_CHANNELS, MAX_SID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

_INT64 = 1 << 63
_SURE = 1 << 62  # from here 1,024 packed deltas of 33 bits cannot leave 64 bits

# times: ticks, one per row; columns: one list per channel, one value per row.
Batch = namedtuple("Batch", ("times", "columns"))


def boot_no(fields: "list[Any]") -> "Any":
    """The boot whose uptime the times of this record are, or None if they count from 1970."""
    at = 4 if fields[0] == SINGLE else 5
    t0 = fields[at] if len(fields) > at else 0
    if not isinstance(t0, int) or t0 >= 0:
        return None
    return fields[-1] if at == 4 else fields[10] if len(fields) > 10 else None


def check_limits(fields: "list[Any]") -> None:
    """LimitError if a DATA or SINGLE record asks for more rows, channels or bits than allowed.

    Cheap, and for use before a record is stored; whether it can be decoded is not looked at.
    """
    if fields[0] == SINGLE:
        _limit(len(fields) - 5 - (boot_no(fields) is not None), MAX_CHANNELS, "channels")
    elif fields[0] == DATA:
        n, _, dt, base, columns = (fields[4:] + [None] * 5)[:5]
        _limit(n, MAX_ITEMS, "rows")
        for part in base, columns:
            if isinstance(part, list):
                _limit(len(part), MAX_CHANNELS, "channels")
        for part in dt, columns:
            if isinstance(part, list):
                for element in part[1:] if part is dt else part:
                    _limit(element, MAX_K, "k")


def check(pdu: bytes) -> int:
    """Where the object at the start of `pdu` ends, as msgpack.scan says it; `check_limits` as well.

    What a host asks of a record before it stores it.
    """
    fields, end = get(pdu, 0, MAX_DEPTH)
    if isinstance(fields, list) and fields:
        check_limits(fields)
    return end


def decode(fields: "list[Any]", channels: "int | None" = None) -> Batch:
    """The rows of a DATA or SINGLE record; `fields` is the whole array, as `parse` gives it.

    channels: how many the schema has, where that is known. LimitError or ContentError if anything
    does not fit; nothing is allocated for rows that are not there.
    """
    check_limits(fields)
    if fields[0] == SINGLE:
        return _single(fields, channels)
    if fields[0] != DATA:
        raise ContentError("not a batch")
    sid, n, t0, dt, base, columns, bits = (fields[3:] + [None] * 7)[:7]
    start = _start(sid, t0, boot_no(fields))
    if not _within(n, 1, MAX_ITEMS):
        raise ContentError("n")
    _check_row(base, channels)
    if columns is None:
        columns = []
    if not isinstance(columns, list) or len(columns) > len(base):
        raise ContentError("columns")
    block = BitBlock(bits, n - 1)
    times = _times(start, dt, n, block)
    out = [_column(element, base[i], n, block) for i, element in enumerate(columns)]
    out += [[value] * n for value in base[len(columns) :]]
    block.finish()
    return Batch(times, out)


def _single(fields: "list[Any]", channels: "int | None") -> Batch:
    boot = boot_no(fields)
    values = fields[5:] if boot is None else fields[5:-1]
    start = _start(fields[3], fields[4], boot) if len(fields) > 5 else -1
    _check_row(values, channels)
    return Batch([start], [[v] for v in values])


def _start(sid: "Any", t0: "Any", boot: "Any") -> int:
    """The ticks of the first row."""
    if not _within(sid, 1, MAX_SID):
        raise ContentError("sid")
    if not _within(t0, -_INT64, _INT64 - 1):
        raise ContentError("t0")
    if t0 >= 0:
        return int(t0)
    if not _within(boot, 0, (1 << 32) - 1):
        raise ContentError("boot")
    return int(-t0 - 1)


def _times(start: int, dt: "Any", n: int, block: BitBlock) -> list[int]:
    late = None
    if isinstance(dt, list) and len(dt) == 2:
        dt, late = dt
    if not _within(dt, -_INT64, _INT64 - 1):
        raise ContentError("dt")
    times = [start + i * dt for i in range(n)]
    if late is not None:
        lateness = _column(late, 0, n, block)
        for x in lateness:
            if type(x) is not int:
                raise ContentError("time column")
        times = [times[i] + lateness[i] for i in range(n)]
    if min(times) < 0 or max(times) >= _INT64:
        raise ContentError("times")
    return times


def _check_row(values: "Any", channels: "int | None") -> None:
    if not isinstance(values, list) or not values:
        raise ContentError("base")
    if channels is not None and len(values) != channels:
        raise ContentError("channels")
    for v in values:
        if type(v) is int:
            if not -_INT64 <= v < _INT64:
                raise ContentError("value")
        elif isinstance(v, dict) or (isinstance(v, list) and not _is_quality(v)):
            raise ContentError("value")


def _is_quality(v: "list[Any]") -> bool:
    return len(v) == 1 and _within(v[0], -127, -1)


def _column(element: "Any", base: "Any", n: int, block: BitBlock) -> "list[Any]":
    if element is None:
        return [base] * n
    if isinstance(element, list):
        return _listed(element, base, n)
    if type(element) is not int or element < 0 or type(base) is not int:
        raise ContentError("column")
    out = block.take(element, base)
    if not -_SURE < base < _SURE and not -_INT64 <= min(out) <= max(out) < _INT64:
        raise ContentError("value")
    return out


def _listed(element: "list[Any]", base: "Any", n: int) -> "list[Any]":
    out = [base]
    previous = base
    value = base if type(base) is int else 0
    for x in element:
        if type(x) is int:
            value += x
            if not -_INT64 <= value < _INT64:
                raise ContentError("value")
            previous = value
        elif isinstance(x, list):
            if len(x) == 1 and _within(x[0], 1, n - len(out)):
                out.extend([previous] * x[0])
                continue
            if not _is_quality(x):
                raise ContentError("run")
            previous = x
        elif isinstance(x, dict):
            raise ContentError("value")
        else:
            previous = x
        out.append(previous)
        if len(out) > n:
            raise ContentError("column too long")
    out.extend([previous] * (n - len(out)))
    return out


def _within(x: "Any", low: int, high: int) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and low <= x <= high


def _limit(x: "Any", most: int, what: str) -> None:
    if isinstance(x, int) and x > most:
        raise LimitError(what)
