"""What `make torture` found on every pair of links: a row for each in build/, and its summary in docs/links.md.

    .venv/bin/python tests/turns_table.py          writes the page from what the last run left; a test looks at its form
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.firmware.cut_in_turn import Turns

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/links.md"
FOUND = ROOT / "build/links-in-turn.csv"
BEGIN, END = "<!-- turns: written by tests/turns_table.py -->\n", "<!-- end of turns -->\n"
COUNTS = ("sent", "switched", "probes", "again", "lost", "lost_answers", "late")
FIELDS = (
    "first", "second", "seed", "records", "switches", "most", *COUNTS,
    "told_ms_first", "told_ms_second", "silent_ms_first", "silent_ms_second", "virtual_hours",
)
HEAD = (
    "next link", "first record acknowledged on it, at worst", "when nobody is told of the cut",
    "records", "switches", "sent again for one switch, at most", "sent again for losses", "lost on the way", "hours",
)
MOST = HEAD.index("sent again for one switch, at most")


def write(found: "Iterable[Turns]") -> None:
    """One row for each pair of links: milliseconds by the link that was taken, counts of records, hours that passed."""
    FOUND.parent.mkdir(exist_ok=True)
    with FOUND.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(FIELDS)
        for one in found:
            counts = [getattr(one.tally, name) for name in COUNTS]
            times = [worst.get(name, 0) for worst in (one.told_ms, one.silent_ms) for name in one.pair]
            hours = f"{one.hours:.1f}"
            rows.writerow([*one.pair, one.seed, one.records, one.switches, one.most, *counts, *times, hours])


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, a row for each link over all its pairs: times of going to it, counts of both links of the pairs."""
    total = sum(int(row["records"]) for row in rows)
    least = min(int(row["records"]) for row in rows)
    lines = [
        f"Seed {rows[0]['seed']}: {len(rows)} pairs, at least {least:,} records on each, {total:,} in all;"
        " 0 lost, 0 stored twice.\n",
        f"| {' | '.join(HEAD)} |",
        "|---" * len(HEAD) + "|",
    ]
    for name in dict.fromkeys(row[side] for side in ("first", "second") for row in rows):
        of = [row for row in rows if name in (row["first"], row["second"])]
        lines.append(f"| {' | '.join(_cells(name, of))} |")
    return "\n".join(lines) + "\n"


def _cells(name: str, of: list[dict[str, str]]) -> list[str]:
    def worst(kind: str) -> str:
        told = [int(row[f"{kind}_ms_{'first' if row['first'] == name else 'second'}"]) for row in of]
        return f"{max(told) / 1000:.1f} s"

    def total(*fields: str) -> str:
        return f"{sum(int(row[field]) for row in of for field in fields):,}"

    hours = sum(float(row["virtual_hours"]) for row in of)
    most = str(max(int(row["most"]) for row in of))
    counts = [total("records"), total("switches"), most, total("again"), total("lost", "lost_answers", "late")]
    return [name, worst("told"), worst("silent"), *counts, f"{hours:.0f}"]


def written(page: str, rows: list[dict[str, str]]) -> str:
    """The page with the table of this run."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table(rows) + END + rest.split(END)[1]


if __name__ == "__main__":
    with FOUND.open(newline="") as file:
        PAGE.write_text(written(PAGE.read_text(), list(csv.DictReader(file))))
