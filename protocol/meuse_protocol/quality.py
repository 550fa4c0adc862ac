"""Why a value is missing. On the wire a missing value with a reason is the element `[-q]`.

Codes up to 127 may come from newer boards; no reason is ever replaced by a number.
"""

DEVICE_MISSING = 1  # the sensor does not answer
BUS_ERROR = 2  # bus fault or checksum error
OPEN = 3  # open circuit or broken wire
OUT_OF_RANGE = 4  # beyond what the sensor or its wiring can mean
NOT_READY = 5  # no conversion yet (DS18B20: 85 degrees at power-on)
STALE = 6  # the last value is older than the channel allows


def missing(quality: int) -> list[int]:
    """The element that stands for a value missing because of `quality` (1 to 127)."""
    return [-quality]
