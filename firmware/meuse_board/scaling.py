"""The arithmetic that drivers share; a board forgets their package, and keeps this."""


def scaled(numerator: int, denominator: int) -> int:
    """numerator / denominator (> 0), rounded half away from zero."""
    n = (abs(numerator) * 2 + denominator) // (denominator * 2)
    return -n if numerator < 0 else n
