"""The shared bit block of a DATA record, from its bytes to the values of packed columns.

Host side. Works on the block as text of zeros and ones with C string operations (bin, split,
struct): in pure Python nothing else is as fast.
"""

from struct import unpack

from .columns import ESCAPE
from .errors import ContentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

TABLE_K = 6  # widest remainder that gets a table; all of them take 50 kB, so a small machine sets less


class BitBlock:
    """`bits`: the element of the record, bytes or None. count: packed values per column, rows - 1."""

    def __init__(self, bits: "Any", count: int):
        if bits is not None and not isinstance(bits, bytes):
            raise ContentError("bits")
        number = int.from_bytes(b"\1" + (bits or b""), "big")  # the one keeps leading zeros
        self._text = bin(number)[3:].encode()
        self._count = count

    def take(self, k: int, base: int) -> list[int]:
        """The column of `count` packed deltas on `base`."""
        count = self._count
        if not count:
            return [base]
        text = self._text
        size = k * count
        quotients = text[size:].split(b"1", count)
        if len(quotients) <= count:
            raise ContentError("bits too short")
        self._text = quotients.pop()
        remainders = unpack(("%ds" % k) * count, text[:size]) if k else ()
        if k <= TABLE_K:
            table = _table(k)
            v = base
            try:
                if not k:
                    deltas = table[b""]
                    return [base] + [v := v + deltas[q] for q in map(len, quotients)]
                pairs = zip(map(len, quotients), remainders)  # noqa: B905 - `strict` is not MicroPython
                return [base] + [v := v + table[r][q] for q, r in pairs]
            except IndexError:
                pass  # an escape
        return self._wide(k, base, [len(q) for q in quotients], remainders)

    def _wide(self, k: int, base: int, quotients: list[int], remainders: "Any") -> list[int]:
        escapes = quotients.count(ESCAPE)
        if max(quotients) > ESCAPE:
            raise ContentError("quotient")
        if len(self._text) < 32 * escapes:
            raise ContentError("bits too short")
        out = [base]
        for i, q in enumerate(quotients):
            if q == ESCAPE:
                z = int(self._text[:32], 2)
                self._text = self._text[32:]
            else:
                z = q << k | int(remainders[i], 2) if k else q
            base += z >> 1 ^ -(z & 1)
            out.append(base)
        return out

    def finish(self) -> None:
        if len(self._text) > 7:
            raise ContentError("bits left over")
        if b"1" in self._text:
            raise ContentError("padding")


_tables: "dict[int, dict[bytes, tuple[int, ...]]]" = {}


def _table(k: int) -> "dict[bytes, tuple[int, ...]]":
    """remainder's digits -> the deltas that quotients from 0 to 19 make with it."""
    if k not in _tables:
        table = {}
        for r in range(1 << k):
            zigzags = [q << k | r for q in range(ESCAPE)]
            digits = bin(1 << k | r)[3:].encode()  # the one keeps leading zeros
            table[digits] = tuple([z >> 1 ^ -(z & 1) for z in zigzags])
        _tables[k] = table
    return _tables[k]
