"""Steps and gaps against plain Python over the same records; snapshots beside a running writer."""

import math
import random
from pathlib import Path

import pytest
from meuse.errors import ConfigError
from meuse.lake import process
from meuse.lake.policy import Policy
from meuse.query import around, ask, store
from meuse.query.selection import Selection, parse_length, parse_time
from meuse_protocol import messages
from meuse_protocol.schema import Schema

from tests.host.journals import (
    NOON_MS,
    STREAM,
    Journal,
    boot_record,
    schema_record,
    single_record,
)
from tests.host.rivers import River, Truth

STATES = {"door"}


@pytest.fixture(scope="module")
def river(tmp_path_factory: pytest.TempPathFactory):
    """Half in the lake, half in the tail, some of it waiting."""
    made = River(tmp_path_factory.mktemp("river"), seed=11)
    made.flow(200)
    process.run(made.journal.data, Policy(file_records=60), lambda: made.now_ms, everything=True)
    made.flow(150)
    yield made
    made.journal.close()


def by_step(truth: list[Truth], selection: Selection, step_ms: int) -> dict[tuple[object, ...], list[Truth]]:
    groups: dict[tuple[object, ...], list[Truth]] = {}
    for row in truth:
        at_ms = row.measured_ms
        if at_ms is None or row.channel is None or row.time_quality == "absurd":
            continue
        if selection.devices and row.device not in selection.devices:
            continue
        if selection.from_ms is not None and at_ms < selection.from_ms:
            continue
        if selection.to_ms is not None and at_ms >= selection.to_ms:
            continue
        key = (row.device, row.channel, row.unit, at_ms // step_ms * step_ms)
        groups.setdefault(key, []).append(row)
    return groups


def expected(rows: list[Truth]) -> tuple[object, ...]:
    """mean, min, max, last, count, missing."""
    valued = [row for row in rows if row.value is not None]
    values = [row.value for row in valued if row.value is not None]
    missing = sum(row.value is None and row.text is None for row in rows)
    if not values:
        return None, None, None, None, 0, missing
    newest = max(valued, key=lambda row: (row.measured_ms or 0, row.stream, row.seq, row.row))
    mean = None if rows[0].channel in STATES else math.fsum(values) / len(values)
    return mean, min(values), max(values), newest.value, len(values), missing


@pytest.mark.parametrize("step_ms", [1_000, 60_000, 3_600_000, 86_400_000, 7_000])
@pytest.mark.parametrize("ranged", [False, True])
def test_steps_equal_plain_python(river: River, step_ms: int, ranged: bool) -> None:
    chance = random.Random(step_ms)
    selection = Selection()
    if ranged:
        start = NOON_MS + chance.randrange(3_600_000)
        selection = Selection(("stove-1",), (), start, start + 7_200_000)
    groups = by_step(river.truth, selection, step_ms)
    with store.opened(river.journal.data, selection) as db:
        found = db.execute(
            "SELECT device, channel, unit, epoch_ms(measured_at), mean, min, max, last, count,"
            f" missing FROM ({ask.steps(selection, step_ms, list(ask.STATISTICS))})"
        ).fetchall()
    assert [tuple(row[:4]) for row in found] == sorted(groups)
    for row in found:
        mean, *rest = expected(groups[tuple(row[:4])])
        assert list(row[5:]) == rest
        assert (row[4] is None) == (mean is None)
        if mean is not None:
            assert math.isclose(row[4], mean, rel_tol=1e-12, abs_tol=1e-300)


def test_the_last_row_of_each_channel_is_the_last_measured(river: River) -> None:
    newest: dict[tuple[str, str], Truth] = {}
    for row in sorted(river.truth, key=lambda row: (row.measured_ms or 0, row.stream, row.seq, row.row)):
        if row.channel is not None and row.measured_ms is not None and row.time_quality != "absurd":
            newest[row.device, row.channel] = row
    with store.opened(river.journal.data) as db:
        found = db.execute(f"SELECT device, channel, seq, row, value FROM ({ask.last(Selection())})").fetchall()
    assert found == [(*key, row.seq, row.row, row.value) for key, row in sorted(newest.items())]


def test_nothing_is_filled_in(tmp_path: Path) -> None:
    """Two readings an hour apart are two steps, not sixty."""
    journal = gappy(tmp_path)
    with store.opened(tmp_path) as db:
        rows = db.execute(
            f"SELECT epoch_ms(measured_at), count FROM ({ask.steps(Selection(), 60_000, ['count'])})"
        ).fetchall()
    assert rows == [(NOON_MS, 1), (NOON_MS + 3_600_000, 1), (NOON_MS + 7_200_000, 1)]
    journal.close()


def gappy(data: Path) -> Journal:
    """seqs 1 schema, 2 at noon, 3-6 lost but 5 came late, 7 awaited, 8 and 9 as below."""
    journal = Journal(data)
    journal.store(schema_record(1, Schema(1, "air", 1_000, [("temp", "Cel", -1, 0)])))
    noon_s = NOON_MS // 1_000
    journal.store(single_record(2, 1, noon_s, [201]))
    journal.gap(3, 6, messages.GAP_LOG_FULL)
    journal.store(single_record(5, 1, noon_s + 3_600, [202]))
    journal.store(single_record(8, 1, noon_s + 7_200, [203]))
    journal.store(boot_record(9, 2))
    return journal


def test_gaps_are_what_never_came(tmp_path: Path) -> None:
    journal = gappy(tmp_path)
    journal.gap(4, 12, messages.GAP_UNANNOUNCED)  # overlaps: no seq may count twice
    with store.opened(tmp_path) as db:
        rows = db.execute(
            "SELECT device, stream, first_seq, last_seq, records, reason, source,"
            f" epoch_ms(after), epoch_ms(before) FROM ({ask.gaps(Selection())})"
        ).fetchall()
    hour = 3_600_000
    stove = ("stove-1", STREAM)
    assert rows == [
        (*stove, 3, 4, 2, "log_full", "board", NOON_MS, NOON_MS + hour),
        (*stove, 6, 6, 1, "log_full", "board", NOON_MS + hour, NOON_MS + 2 * hour),
        (*stove, 7, 7, 1, "unannounced", "board", NOON_MS + hour, NOON_MS + 2 * hour),
        (*stove, 10, 12, 3, "unannounced", "board", NOON_MS + 2 * hour, None),
    ]
    journal.close()


def test_a_hole_that_nobody_announced_is_awaited(tmp_path: Path) -> None:
    journal = gappy(tmp_path)
    rows = [row[2:6] for row in around.gaps(journal.writer._db)]
    assert rows == [(3, 4, 2, "log_full"), (6, 6, 1, "log_full"), (7, 7, 1, "awaited")]
    journal.close()


@pytest.mark.parametrize(
    ("from_h", "to_h", "firsts"),
    [(None, None, [3, 6, 7]), (1.5, None, [6, 7]), (None, 0.5, [3]), (1.5, 1.7, [6, 7]), (3, None, [])],
)
def test_gaps_of_a_range(tmp_path: Path, from_h: float | None, to_h: float | None, firsts: list[int]) -> None:
    journal = gappy(tmp_path)
    edges = [None if h is None else NOON_MS + int(h * 3_600_000) for h in (from_h, to_h)]
    selection = Selection((), (), *edges)
    with store.opened(tmp_path) as db:
        rows = db.execute(f"SELECT first_seq FROM ({ask.gaps(selection)})").fetchall()
    assert [row[0] for row in rows] == firsts
    journal.close()


def test_devices_boots_and_schemas_are_views(river: River) -> None:
    with store.opened(river.journal.data) as db:
        assert db.execute("SELECT DISTINCT device FROM devices ORDER BY 1").fetchall() == [
            ("building-1",),
            ("stove-1",),
            ("weather-1",),
        ]
        (channels,) = db.execute(
            "SELECT list(DISTINCT channel ORDER BY channel) FROM schemas WHERE device = 'stove-1'"
        ).fetchall()[0]
        (records,) = db.execute("SELECT sum(records)::INT FROM devices").fetchall()[0]
        (boots,) = db.execute("SELECT count(*) FROM boots").fetchall()[0]
    assert channels == ["door", "fan", "note", "rh", "temp"]
    (stored,) = river.journal.writer._db.execute("SELECT count(*) FROM records").fetchone()
    assert records == stored
    assert boots == 3 + sum(boot - 1 for boot in river.boots.values())


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("now", NOON_MS),
        ("-1h", NOON_MS - 3_600_000),
        ("-90s", NOON_MS - 90_000),
        ("-2d", NOON_MS - 172_800_000),
        ("2025-11-23", NOON_MS - 43_200_000),
        ("2025-11-23T12:00:00Z", NOON_MS),
        ("2025-11-23 12:00", NOON_MS),
        ("2025-11-23T13:00:00.250+01:00", NOON_MS + 250),
    ],
)
def test_times_as_people_write_them(text: str, ms: int) -> None:
    assert parse_time(text, NOON_MS, "--from") == ms


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "-h", "-0s", "2025-13-01", "1h", "--1h"])
def test_what_is_no_time_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_time(text, NOON_MS, "--from")
    assert refusal.value.status == 2
    assert "write it like" in refusal.value.advice


@pytest.mark.parametrize("text", ["0s", "5", "h", "1.5h", "-1h", "1y"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_length(text, "--step")
