"""From the integers of a channel to doubles: value = integer * 10^exp10, rounded exactly once.

Knows the elements of a column and no schema, no time and no storage.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

# Both operands of one IEEE division or product must be exact for a single rounding: integers
# within 53 bits, and powers of ten up to 10^22.
EXACT_INTEGER: Final = 1 << 53
EXACT_POWER: Final = 22


class Column(NamedTuple):
    """One channel over many rows. `value` counts only where `absent` is False."""

    value: Values
    absent: npt.NDArray[np.bool_]
    quality: Codes
    texts: dict[int, str]  # row -> text, for elements that are no numbers


def scaled(integer: int, exp10: int) -> float:
    """The double nearest to integer * 10^exp10, for integers of any size (ties to even)."""
    if exp10 >= 0:
        return float(integer * 10**exp10)
    divisor: int = 10**-exp10
    return integer / divisor  # Python rounds a quotient of integers once


def scale(elements: list[object], exp10: int, missing: int, not_finite: int) -> Column:
    """Scale a column; `missing` and `not_finite` are the quality codes for nil and infinities."""
    rows = len(elements)
    # The type itself is asked for, since True is an int to isinstance and to numpy.
    if set(map(type, elements)) == {int} and abs(exp10) <= EXACT_POWER:
        try:
            integers = np.array(elements, dtype=np.int64)
        except OverflowError:
            integers = None
        if integers is not None and not (_beyond_exact(integers)).any():
            power = np.float64(10 ** abs(exp10))
            value: Values = integers * power if exp10 > 0 else integers / power
            return Column(value, np.zeros(rows, np.bool_), np.zeros(rows, np.uint8), {})
    return _element_by_element(elements, exp10, missing, not_finite)


def _beyond_exact(integers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    beyond: npt.NDArray[np.bool_] = (integers > EXACT_INTEGER) | (integers < -EXACT_INTEGER)
    return beyond


def _element_by_element(elements: list[object], exp10: int, missing: int, not_finite: int) -> Column:
    rows = len(elements)
    column = Column(np.zeros(rows, np.float64), np.zeros(rows, np.bool_), np.zeros(rows, np.uint8), {})
    for row, element in enumerate(elements):
        value: float | None = None
        if isinstance(element, bool):
            value = float(element)
        elif isinstance(element, int):
            value = scaled(element, exp10)
        elif isinstance(element, float):
            if math.isfinite(element):
                value = element
            else:
                column.quality[row] = not_finite
        elif isinstance(element, str):
            column.texts[row] = element
        elif isinstance(element, bytes):
            column.texts[row] = element.hex()
        else:
            column.quality[row] = _reason(element, missing)
        if value is None:
            column.absent[row] = True
        else:
            column.value[row] = value
    return column


def _reason(element: object, missing: int) -> int:
    """The code in `[-quality]`; nil, and anything that is no code, has no reason."""
    if isinstance(element, list) and len(element) == 1 and isinstance(element[0], int):
        code = -element[0]
        if 1 <= code <= 127:
            return code
    return missing
