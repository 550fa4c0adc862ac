"""What the world really told the board: one JSON line per conversion served, in the order it happened.

The independent witness: storage is compared with it, value for value. Values are scaled as the sensor's datasheet
says, with exact arithmetic, then stated with the channel's decimals (half away from zero).
"""

import json
from fractions import Fraction
from pathlib import Path


def stated(value: Fraction, decimals: int) -> int | float:
    """The value rounded half away from zero to `decimals`, as the number that reads back as that decimal."""
    scale: int = 10**decimals
    numerator, denominator = abs(value).numerator * scale, value.denominator
    rounded = (numerator * 2 + denominator) // (denominator * 2)
    if value < 0:
        rounded = -rounded
    return rounded if decimals <= 0 else rounded / scale


class Served:
    """Appends to `path`; a line is with the operating system before the board has its answer."""

    def __init__(self, path: Path, device: str) -> None:
        self._file = path.open("a", buffering=1)
        self._device = device
        self.lines = 0

    def log(
        self,
        t: float,
        channel: str,
        raw: int,
        value: int | float | None,
        trace_time: int | None,
        quality: int | None = None,
    ) -> None:
        """`raw` is the register's content; `value` None where the answer was damaged, and then `quality` says
        what the board must make of it; `trace_time` is the time of the trace's row that was played."""
        line: dict[str, object] = {
            "t": round(t, 6),
            "device": self._device,
            "channel": channel,
            "raw": raw,
            "value": value,
        }
        if quality is not None:
            line["quality"] = quality
        if trace_time is not None:
            line["trace_time"] = trace_time
        self._file.write(json.dumps(line) + "\n")
        self.lines += 1

    def close(self) -> None:
        self._file.close()
