"""Conditions on measured values: [channel, comparison, number, exp10], as a CMD carries them. No IO.

The number is number times 10^exp10; all arithmetic is on integers, since a board's floats are short.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

COMPARISONS = ("<", "<=", ">", ">=", "==")
EXP_MAX = 18


def is_condition(x: "Any") -> bool:
    """Whether it has the form of one."""
    if type(x) is not list or len(x) != 4:
        return False
    if type(x[0]) is not str or x[1] not in COMPARISONS:
        return False
    return type(x[2]) is int and type(x[3]) is int and -EXP_MAX <= x[3] <= EXP_MAX


def holds(condition: "list[Any]", value: object, exp10: int) -> bool:
    """Whether value times 10^exp10 meets it. A value that is missing meets nothing."""
    if type(value) is not int:
        return False
    _, comparison, number, exp = condition
    if exp10 > exp:
        value *= 10 ** (exp10 - exp)
    else:
        number *= 10 ** (exp - exp10)
    if value == number:
        return len(comparison) == 2  # <=, >=, ==
    return bool(comparison[0] == ("<" if value < number else ">"))
