"""Recorded readings as a physical world: what each column of a CSV file was at a moment of the scenario.

Format: first column `time` in seconds since 1970, then `name[unit;decimals]`. Values are exact decimals and hold
until the next row; after the last row the trace begins again.
"""

import bisect
import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True)
class Truth:
    """The physical value at a moment, and the time (s since 1970) of the trace's row it came from, if from one."""

    value: Fraction
    trace_time: int | None


class Trace:
    """`times_s` are seconds since the first row; `columns` maps a bare column name to its values."""

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as f:
            header, *rows = list(csv.reader(f))
        if not rows or header[0] != "time":
            raise ValueError(f"{path}: a trace has a first column `time` and at least one row")
        names = [title.split("[")[0] for title in header[1:]]
        first = int(rows[0][0])
        self.first_s = first
        self.times_s = [int(row[0]) - first for row in rows]
        self.columns = {name: [Fraction(row[i]) for row in rows] for i, name in enumerate(names, start=1)}
        step = self.times_s[-1] // max(len(rows) - 1, 1)
        self.length_s = self.times_s[-1] + max(step, 1)

    def row(self, scenario_s: float) -> int:
        """Index of the row that holds at this moment."""
        return max(bisect.bisect_right(self.times_s, scenario_s % self.length_s) - 1, 0)

    def now(self, column: str, scenario_s: float) -> Truth:
        row = self.row(scenario_s)
        return Truth(self.columns[column][row], self.first_s + self.times_s[row])
