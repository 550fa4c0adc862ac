"""Packs a batch of readings into the elements of a DATA record; integers only, little heap.

Owns the choice between the three forms of a column (nil, list, Rice code in the shared bit block).
Knows no schema and no stream. The decoder is columns_decode, which a board need not import.

A value is a scaled int (within 62 bits and sign), a float, str, bytes or bool as it is, None
(missing) or [-q] (missing because of quality q).
"""

from .errors import LocalError
from .msgpack import MAX_ITEMS, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

ESCAPE = 20  # this unary quotient means: the zigzag value follows in 32 bits
MAX_K = 30


def single(
    sid: int, time: int, values: "list[Any]", boot_no: "int | None" = None
) -> "list[Any]":
    """What follows seq in a SINGLE record; arguments as in `encode`."""
    if boot_no is None:
        return [sid, time] + values
    return [sid, -time - 1] + values + [boot_no]


def encode(
    sid: int, times: list[int], rows: "list[list[Any]]", boot_no: "int | None" = None
) -> "list[Any]":
    """What follows seq in a DATA record of 1 to 1,024 rows, one value per channel in each.

    times: ticks of the schema, one per row: since 1970, or since boot `boot_no` if that is given.
    """
    n = len(rows)
    if not 0 < n <= MAX_ITEMS or len(times) != n:
        raise LocalError("rows")
    block: list[Any] = [0, 0, bytearray()]  # bits not yet written, how many, whole bytes
    zigzags = [0] * (n - 1)  # these two lists are used again for every channel: heap is scarce
    column: list[Any] = [0] * n
    dt = _intervals(times, column, zigzags, block)
    columns: list[Any] = []
    for c in range(len(rows[0])):
        for i in range(n):
            column[i] = rows[i][c]
        columns.append(_column(column, zigzags, block))
    while columns and columns[-1] is None:
        columns.pop()
    _fixed(block, [0], -block[1] & 7)
    t0 = times[0] if boot_no is None else -times[0] - 1
    body: list[Any] = [sid, n, t0, dt, rows[0], columns]
    if block[2] or boot_no is not None:
        body.append(bytes(block[2]) or None)
    if boot_no is not None:
        body.append(boot_no)
    return body


def _intervals(
    times: list[int], column: "list[Any]", zigzags: list[int], block: "list[Any]"
) -> "Any":
    """dt if every interval is dt, else [dt, column of how late each row is on the grid of dt]."""
    if not zigzags:
        return 0
    for i in range(len(zigzags)):
        zigzags[i] = times[i + 1] - times[i]
    zigzags.sort()
    dt = zigzags[len(zigzags) // 2]
    if zigzags[0] == zigzags[-1]:
        return dt
    for i in range(len(column)):
        column[i] = times[i] - times[0] - i * dt
    return [dt, _column(column, zigzags, block)]


def _column(column: "list[Any]", zigzags: list[int], block: "list[Any]") -> "Any":
    """The column's element; what it packs goes into `block`."""
    kind, exact = type, int  # locals: a board looks globals up by name each time
    for v in column:
        if kind(v) is not exact:
            return _listed(column) or None
    for i in range(len(zigzags)):
        d = column[i + 1] - column[i]
        zigzags[i] = d << 1 if d >= 0 else ~(d << 1)
    total = sum(zigzags)
    if not total:
        return None
    if max(zigzags) >> 32:
        return _listed(column)
    k, bits = _best(zigzags, total)
    # A list takes at least a byte per change: only where that may win is it made and measured.
    if bits > 8 * (len(zigzags) - zigzags.count(0)):
        listed = _listed(column)
        if 8 * len(pack(listed)) < bits + 8:
            return listed
    _fixed(block, zigzags, k)
    _unary(block, zigzags, k)
    _fixed(block, [z for z in zigzags if z >> k >= ESCAPE], 32)
    return k


def _best(zigzags: list[int], total: int) -> tuple[int, int]:
    """(k, bits) of the cheapest Rice code.

    Searched downwards from above the mean's magnitude. Escapes may hide the best behind a bump of
    one, so the search ends at the second k that is no cheaper.
    """
    k = 0
    mean = total // len(zigzags)
    while mean >> k and k < MAX_K:
        k += 1
    best, bits = k, _cost(zigzags, k)
    while k and best - k < 2:
        k -= 1
        cost = _cost(zigzags, k)
        if cost < bits:
            best, bits = k, cost
    return best, bits


def _cost(zigzags: list[int], k: int) -> int:
    bits = len(zigzags) * (k + 1)
    for z in zigzags:
        z >>= k
        bits += z if z < 20 else 52
    return bits


def _fixed(block: "list[Any]", values: list[int], width: int) -> None:
    """Appends the low `width` bits of each value, most significant first."""
    acc, held, out = block
    mask = (1 << width) - 1
    for v in values:
        acc = acc << width | v & mask
        held += width
        while held >= 8:
            held -= 8
            out.append(acc >> held)
            acc &= (1 << held) - 1
    block[0], block[1] = acc, held


def _unary(block: "list[Any]", zigzags: list[int], k: int) -> None:
    """Appends each quotient z >> k as so many zeros and a one, ESCAPE at most."""
    acc, held, out = block
    for z in zigzags:
        q = z >> k
        if q > ESCAPE:
            q = ESCAPE
        acc = acc << q + 1 | 1
        held += q + 1
        while held >= 8:
            held -= 8
            out.append(acc >> held)
            acc &= (1 << held) - 1
    block[0], block[1] = acc, held


def _listed(column: "list[Any]") -> "list[Any]":
    """The column as a list of changes; [] if there are none."""
    out: list[Any] = []
    previous = column[0]
    value = previous if type(previous) is int else 0
    run = 0
    for v in column[1:]:
        if _same(v, previous):
            run += 1
            continue
        _put_run(out, previous, run)
        run = 0
        previous = v
        if type(v) is int:
            v, value = v - value, v
        out.append(v)
    return out


def _put_run(out: "list[Any]", previous: "Any", run: int) -> None:
    if type(previous) is int and run < 3:
        while run:
            out.append(0)
            run -= 1
    elif previous is None and run == 1:
        out.append(None)
    elif run:
        out.append([run])


def _same(a: "Any", b: "Any") -> bool:
    if type(a) is int:
        return type(b) is int and a == b
    return type(a) is type(b) and pack(a) == pack(b)
