"""Conditions as people write them, `flue_temp < 60.5`, to and from what travels. A board needs none of it."""

from .conditions import COMPARISONS, is_condition
from .errors import LocalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

DIGITS_MAX = 15


def condition_of(text: str) -> "list[Any]":
    """[channel, comparison, number, exp10]; LocalError says what it must look like."""
    for comparison in sorted(COMPARISONS, key=lambda sign: -len(sign)):
        channel, found, number = text.partition(comparison)
        if found:
            digits, exp10 = _number(number.strip())
            condition = [channel.strip(), comparison, digits, exp10]
            if condition[0] and " " not in channel.strip() and is_condition(condition):
                return condition
            break
    raise LocalError("a condition is CHANNEL, one of %s, and a number" % " ".join(COMPARISONS))


def text_of(condition: "list[Any]") -> str:
    """The same in words."""
    channel, comparison, number, exp10 = condition
    return "%s %s %s" % (channel, comparison, decimal(number, exp10))


def decimal(number: int, exp10: int) -> str:
    """number times 10^exp10 without an exponent."""
    if exp10 >= 0:
        return str(number * 10**exp10)
    digits = str(abs(number))
    digits = "0" * (1 - exp10 - len(digits)) + digits
    return "-" * (number < 0) + digits[:exp10] + "." + digits[exp10:]


def _number(text: str) -> "tuple[int, int]":
    whole, point, part = text.partition(".")
    digits = whole[1:] if whole[:1] in ("-", "+") else whole
    if not (digits + part).isdigit() or (point and not part) or len(digits + part) > DIGITS_MAX:
        raise LocalError("'%s' is not a number" % text)
    return int(whole[: len(whole) - len(digits)] + digits + part), -len(part)
