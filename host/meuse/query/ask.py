"""From a selection to SQL over the views of store.py; no IO, no formatting."""

from typing import Final

from meuse.logical import COLUMNS
from meuse.query.selection import Selection

STATISTICS: Final = {
    "mean": "CASE WHEN is_state THEN NULL ELSE favg(value) END",
    "min": "min(value)",
    "max": "max(value)",
    "last": 'arg_max(value, (measured_at, stream, seq, "row")) FILTER (value IS NOT NULL)',
    "count": "count(value)",
}
_ORDER: Final = 'device, channel, measured_at NULLS LAST, stream, seq, "row"'


def rows(selection: Selection) -> str:
    """The logical table, sorted by device, channel and time; undated rows last."""
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    return f"SELECT {columns} FROM readings WHERE {where(selection)} ORDER BY {_ORDER}"


def last(selection: Selection) -> str:
    """Of each channel the row that was measured last; no absurd time is newer than another."""
    believed = "time_quality != 'absurd'"
    moment = "coalesce(epoch_us(measured_at), -1)"
    # One pass that keeps a row per channel: a window function would sort everything.
    return f"""
        SELECT * FROM (
            SELECT unnest(newest) FROM (
                SELECT arg_max(readings, ({believed}, {moment}, stream, seq, "row")) AS newest
                FROM readings WHERE {where(selection)} AND channel IS NOT NULL
                GROUP BY device, channel))
        ORDER BY {_ORDER}"""


def glance(sql: str) -> str:
    """The rows of `sql` with the columns that fit a terminal; a text stands where a value would."""
    number = r"regexp_replace(value::VARCHAR, '\.0$', '')"  # as people write whole numbers
    shown = f"coalesce({number}, text) AS value, unit, quality, time_quality"
    return f"SELECT device, channel, measured_at, {shown} FROM ({sql})"


def steps(selection: Selection, step_ms: int, statistics: list[str]) -> str:
    """One row per device, channel and step that has readings; steps count from 1970, UTC.

    `measured_at` is the start of the step. `missing` counts rows without any value. States and codes
    have no mean. Undated and absurd rows are in no step.
    """
    shown = ", ".join(f"{STATISTICS[name]} AS {name}" for name in statistics)
    moment = f"(epoch_ms(measured_at) // {step_ms}) * {step_ms}"
    return f"""
        WITH states AS (
            SELECT DISTINCT device, channel FROM schemas WHERE flags & 2 = 2),
        chosen AS (
            SELECT r.*, s.channel IS NOT NULL AS is_state, {moment} AS step
            FROM readings r LEFT JOIN states s USING (device, channel)
            WHERE {where(selection)} AND measured_at IS NOT NULL AND time_quality != 'absurd'
                AND channel IS NOT NULL)
        SELECT device, channel, unit, make_timestamptz(step * 1000) AS measured_at, {shown},
            count(*) FILTER (value IS NULL AND text IS NULL) AS missing
        FROM chosen GROUP BY device, channel, unit, is_state, step ORDER BY device, channel, step"""


def undated(selection: Selection) -> str:
    """How many rows have no measured time, of the devices and channels selected."""
    names = _names(selection)
    return f"SELECT count(*) FROM readings WHERE {names} AND measured_at IS NULL"


def gaps(selection: Selection) -> str:
    """Open gaps, with the readings that stand before and after each in its stream.

    With a range: those that may lie in it. An edge that is null is unknown.
    """
    conditions = ["true"]
    if selection.devices:
        conditions.append(f"device IN ({_listed(selection.devices)})")
    if selection.from_ms is not None:
        conditions.append(f'("before" IS NULL OR "before" >= {_moment(selection.from_ms)})')
    if selection.to_ms is not None:
        conditions.append(f'("after" IS NULL OR "after" < {_moment(selection.to_ms)})')
    return f"""
        WITH edges AS (
            SELECT stream, seq, min(measured_at) AS first_at, max(measured_at) AS last_at
            FROM readings WHERE measured_at IS NOT NULL AND time_quality != 'absurd'
                AND stream IN (SELECT stream FROM gaps)
            GROUP BY stream, seq),
        lower AS (
            SELECT g.*, e.last_at AS "after" FROM gaps g
            ASOF LEFT JOIN edges e ON g.stream = e.stream AND g.first_seq > e.seq),
        both_ends AS (
            SELECT l.*, e.first_at AS "before" FROM lower l
            ASOF LEFT JOIN edges e ON l.stream = e.stream AND coalesce(l.last_seq, 4294967295) < e.seq)
        SELECT device, stream, first_seq, last_seq, records, reason, source, "after", "before",
            recorded_at
        FROM both_ends WHERE {" AND ".join(conditions)} ORDER BY device, stream, first_seq"""


def count_gaps(selection: Selection) -> str:
    """How many gaps are announced, how many records they are, whether some have no end, how many are power cuts.

    Of a power cut a board knows only the most it may have cost: numbers it had reserved, used or not.

    Of the devices selected, at any time: to find out when would mean to read everything.
    """
    devices = f"device IN ({_listed(selection.devices)})" if selection.devices else "true"
    return (
        "SELECT count(*), coalesce(sum(records), 0)::BIGINT, count(*) > count(records),"
        " count(*) FILTER (reason = 'power_cut')"
        f" FROM gaps WHERE reason != 'awaited' AND {devices}"
    )


def where(selection: Selection) -> str:
    """The selection as a condition on `readings`."""
    conditions = [_names(selection)]
    times = []
    if selection.from_ms is not None:
        times.append(f"measured_at >= {_moment(selection.from_ms)}")
    if selection.to_ms is not None:
        times.append(f"measured_at < {_moment(selection.to_ms)}")
    if times:
        either = " OR measured_at IS NULL" if selection.undated else ""
        conditions.append(f"({' AND '.join(times)}{either})")
    return " AND ".join(conditions)


def _names(selection: Selection) -> str:
    conditions = ["true"]
    if selection.devices:
        conditions.append(f"device IN ({_listed(selection.devices)})")
    if selection.channels:
        conditions.append(f"channel IN ({_listed(selection.channels)})")
    return " AND ".join(conditions)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


def _moment(ms: int) -> str:
    return f"make_timestamptz({ms * 1_000}::BIGINT)"
