"""When a reading was measured: by the board's own clock, or by uptime and the anchors of its boot.

Pure arithmetic over integers; knows no storage and reads no clock. Measured time is never
rewritten: a time that cannot be true is kept and called `absurd`.
"""

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

# Names of `time_quality`; the position is the code used in arrays.
SYNCED: Final = 0  # the board's clock was set when it measured
REPAIRED: Final = 1  # from uptime and anchors of the same boot, error estimated at most 1 s
APPROXIMATE: Final = 2  # from far or contradicting anchors, or from the time of receipt
ABSURD: Final = 3  # as the board said it, before 2020 or a day after its receipt
UNDATED: Final = 4  # no measured time
TIME_QUALITIES: Final = ("synced", "repaired", "approximate", "absurd", "undated")

YEAR_2020_MS: Final = 1_577_836_800_000
DAY_MS: Final = 86_400_000
# 9999-12-31T23:59:59.999: the last instant that Python, Parquet readers and spreadsheets can show.
LAST_MS: Final = 253_402_300_799_999

# What `repaired` promises.
REPAIRED_ERROR_MS: Final = 1_000
# A board's crystal stays within 50 millionths over its temperature range ...
CRYSTAL_DRIFT: Final = 50e-6
# ... while the resistor-capacitor clock of a sleeping chip may be off by 5 per cent.
SLEEP_DRIFT: Final = 0.05
# No board runs for ten years without a restart; a larger uptime is not an uptime.
UPTIME_LIMIT_MS: Final = 3653 * DAY_MS


class Anchor(NamedTuple):
    """At `uptime_ms` after this boot it was `utc_ms`, give or take `err_ms`."""

    uptime_ms: int
    utc_ms: int
    err_ms: int

    @property
    def offset_ms(self) -> int:
        return self.utc_ms - self.uptime_ms

    def in_range(self) -> bool:
        """Whether these numbers can be times at all, whatever the board meant by them."""
        uptime_fits = 0 <= self.uptime_ms <= UPTIME_LIMIT_MS
        return uptime_fits and 0 <= self.utc_ms <= LAST_MS and 0 <= self.err_ms <= DAY_MS


class Dated(NamedTuple):
    """UTC milliseconds and a time quality code per row; the time counts only where not UNDATED."""

    utc_ms: Int64s
    quality: Codes


def utc_quality(utc_ms: Int64s, received_ms: Int64s | int) -> Codes:
    """SYNCED or ABSURD for times that a board called UTC; the times themselves stay."""
    return np.where(_absurd(utc_ms, received_ms), ABSURD, SYNCED).astype(np.uint8)


def date_uptime(uptimes_ms: Int64s, anchors: list[Anchor], received_ms: int) -> Dated | None:
    """Times of a boot without clock, by the anchors of that boot before and after them.

    `uptimes_ms`: 0 to UPTIME_LIMIT_MS. None while no anchor can be believed: one that says 1970,
    or that puts a reading a day after its receipt, dates nothing.
    """
    believable = [
        anchor
        for anchor in sorted(anchors)
        if anchor.in_range() and not _absurd(uptimes_ms + anchor.offset_ms, received_ms).any()
    ]
    if not believable:
        return None
    runs = _runs_between_steps(believable)
    # A clock that was stepped was wrong before; what came later corrected it.
    utc, error_ms = _by_run(uptimes_ms, runs[-1])
    sure = (error_ms <= REPAIRED_ERROR_MS) & (len(runs) == 1)
    return Dated(utc, np.where(sure, REPAIRED, APPROXIMATE).astype(np.uint8))


def date_receipt(uptimes_ms: Int64s, offset_ms: int) -> Dated:
    """The last resort: `offset_ms` is the least of receipt minus uptime over records of a boot.

    No reading is younger than its receipt, so the least difference is the nearest to the truth.
    """
    return Dated(uptimes_ms + offset_ms, np.full(len(uptimes_ms), APPROXIMATE, dtype=np.uint8))


def undated(rows: int) -> Dated:
    """No time at all."""
    return Dated(np.zeros(rows, dtype=np.int64), np.full(rows, UNDATED, dtype=np.uint8))


def _absurd(utc_ms: Int64s, received_ms: Int64s | int) -> npt.NDArray[np.bool_]:
    """Before 2020, or over a day after receipt (where the host's own clock can be believed)."""
    received = np.asarray(received_ms, dtype=np.int64)
    latest = np.where(received >= YEAR_2020_MS, received + DAY_MS, LAST_MS - 1)
    absurd: npt.NDArray[np.bool_] = (utc_ms < YEAR_2020_MS) | (utc_ms > latest)
    return absurd


def _runs_between_steps(anchors: list[Anchor]) -> list[list[Anchor]]:
    """Split where two neighbours differ by more than their errors, a second and drift explain."""
    runs = [[anchors[0]]]
    for before, after in pairwise(anchors):
        distance_ms = after.uptime_ms - before.uptime_ms
        allowed = before.err_ms + after.err_ms + REPAIRED_ERROR_MS + distance_ms * SLEEP_DRIFT
        if abs(after.offset_ms - before.offset_ms) > allowed:
            runs.append([])
        runs[-1].append(after)
    return runs


def _by_run(uptimes: Int64s, run: list[Anchor]) -> tuple[Int64s, Float64s]:
    """UTC and its estimated error: interpolated between two anchors, carried on outside them."""
    at = np.array([anchor.uptime_ms for anchor in run], dtype=np.int64)
    offsets = np.array([anchor.offset_ms for anchor in run], dtype=np.int64)
    errors = np.array([anchor.err_ms for anchor in run], dtype=np.float64)
    last = len(run) - 1
    before = np.clip(np.searchsorted(at, uptimes, side="right") - 1, 0, last)
    after = np.where(uptimes > at[before], np.minimum(before + 1, last), before)
    span = np.maximum(at[after] - at[before], 1)
    share = (uptimes - at[before]) / span
    correction = np.where(after != before, (offsets[after] - offsets[before]) * share, 0.0)
    utc = uptimes + offsets[before] + np.rint(correction).astype(np.int64)
    distance = np.minimum(np.abs(uptimes - at[before]), np.abs(at[after] - uptimes))
    error = np.maximum(errors[before], errors[after]) + distance * CRYSTAL_DRIFT
    return utc, error + _unexplained(run)[np.minimum(before, max(last - 1, 0))]


def _unexplained(run: list[Anchor]) -> Float64s:
    """Per pair of neighbours, by how much they differ beyond their errors and a crystal's drift."""
    excess = [
        abs(after.offset_ms - before.offset_ms)
        - (before.err_ms + after.err_ms)
        - (after.uptime_ms - before.uptime_ms) * CRYSTAL_DRIFT
        for before, after in pairwise(run)
    ]
    return np.maximum(np.array(excess or [0.0], dtype=np.float64), 0.0)
