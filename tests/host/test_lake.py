"""The lake's files: names, order, merging, waiting records, and who may read what meanwhile."""

import random
import re
from pathlib import Path

import duckdb
import pytest
from meuse import catalog, storage_checks
from meuse.errors import HostError
from meuse.journal.purge import purge_step
from meuse.lake import lock, process, writer
from meuse.lake.policy import MERGE_FILES, Policy, to_merge
from meuse.lake.task import READERS
from meuse.query import store
from meuse.query.selection import Selection

from tests.host.journals import NOON_MS
from tests.host.lakes import assert_files_are_whole, lake, lake_made, run_here
from tests.host.rivers import River
from tests.host.truths import assert_stored, stored

WEEK_MS = 7 * 86_400_000


@pytest.fixture
def river(tmp_path: Path):
    made = River(tmp_path, seed=7)
    yield made
    made.journal.close()


def test_file_names_say_the_journal_and_the_records(river: River) -> None:
    river.flow(50)
    run_here(river)
    (path,) = lake(river).glob("*.parquet")
    last = river.journal.writer._db.execute("SELECT max(id) FROM records").fetchone()[0]
    assert re.fullmatch(rf"[0-9a-f]{{16}}-1-{last}\.parquet", path.name)


def test_a_file_is_sorted_by_device_channel_and_time(river: River) -> None:
    river.flow(200)
    river.settle(len(river.owed))
    run_here(river)
    (path,) = lake(river).glob("*.parquet")
    rows = duckdb.connect().execute(
        f"SELECT coalesce(device, ''), coalesce(channel, ''), schema_id,"
        f" coalesce(epoch_ms(measured_at), {2**60}), seq, row FROM '{path}'"
    )
    named = rows.fetchall()
    assert named == sorted(named)


def test_small_files_do_not_pile_up(river: River) -> None:
    for _ in range(20):
        river.flow(10)
        run_here(river)
    assert len(list(lake(river).glob("*.parquet"))) < 2 * MERGE_FILES
    assert_stored(river)
    assert_files_are_whole(river)


@pytest.mark.parametrize("seed", range(20))
def test_merging_ends_and_keeps_its_bound(seed: int) -> None:
    chance = random.Random(seed)
    sizes: list[_Sized] = []
    written = 0
    for _ in range(600):
        sizes.append(_Sized(chance.choice([5, 100, 9_000, 60_000, 400_000, 1_000_000])))
        while run := to_merge(sizes):
            at = sizes.index(run[0])
            assert list(run) == sizes[at : at + len(run)]
            merged = _Sized(sum(file.rows for file in run))
            written += merged.rows
            sizes[at : at + len(run)] = [merged]
    total = sum(file.rows for file in sizes)
    assert len(sizes) < 64 + 8 * total / 400_000
    assert written < 4 * total


class _Sized:
    def __init__(self, rows: int) -> None:
        self.rows = rows


def test_no_file_goes_while_a_query_reads(river: River) -> None:
    for _ in range(MERGE_FILES - 1):
        river.flow(4)
        run_here(river)
    with store.opened(river.journal.data) as db:
        before = len(list(lake(river).glob("*.parquet")))
        river.flow(4)
        assert run_here(river).merged == 0
        assert len(list(lake(river).glob("*.parquet"))) == before + 1
        assert db.execute("SELECT count(*) FROM readings").fetchone() is not None
    river.flow(4)
    assert run_here(river).merged == MERGE_FILES
    assert_stored(river)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """DuckDB would take brackets and stars for patterns, and site=a for a column."""
    river = River(tmp_path / "site=a" / "it's [data] *?", seed=2)
    for _ in range(MERGE_FILES + 1):
        river.flow(4)
        run_here(river)
    river.flow(4)
    assert_stored(river)
    assert_files_are_whole(river)
    river.journal.close()


def test_only_one_process_writes(river: River) -> None:
    river.flow(20)
    with lock.writing(lake_made(river)) as alone:
        assert alone
        assert run_here(river) == process.Done(0, 0, 0)
    assert run_here(river).records


def test_what_waits_longer_than_a_week_is_written_as_it_stands(river: River) -> None:
    river.flow(150)
    run_here(river)
    waiting = {row for owed in river.owed for row in owed.before}
    assert waiting
    assert {row for row in stored(river.journal.data) if row in waiting} == waiting
    river.now_ms += WEEK_MS + 1
    river.flow(1)
    run_here(river)
    db = river.journal.writer._db
    assert db.execute("SELECT count(*) FROM parked WHERE since_ms <= ?", (river.now_ms - WEEK_MS,)).fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM lake_files WHERE state = 'done'").fetchone() == (2,)
    rows = {(row.stream, row.seq, row.row, row.channel): row for row in stored(river.journal.data)}
    for before in waiting:
        after = rows[before.stream, before.seq, before.row, before.channel]
        if before.quality == "unknown_schema":
            assert after == before
            continue
        assert after.time_quality == "approximate"
        # Never later than its receipt, and in order within its record.
        assert after.measured_ms is not None
        assert after.measured_ms <= after.received_ms
        assert after._replace(measured_ms=None, time_quality="undated") == before


def purge(river: River) -> None:
    """Everything that every reader has passed goes."""
    db = river.journal.writer._db
    catalog.store(db, catalog.find(db), river.now_ms)
    while purge_step(db, river.now_ms + 1, READERS):
        pass


def test_a_record_that_waits_keeps_its_place_in_the_journal(river: River) -> None:
    river.flow(150)
    run_here(river)
    db = river.journal.writer._db
    (oldest,) = db.execute("SELECT min(record_id) FROM parked").fetchone()
    purge(river)
    assert db.execute("SELECT min(id) FROM records").fetchone() == (oldest,)
    assert_stored(river)
    river.settle(len(river.owed))
    run_here(river)
    run_here(river)
    assert db.execute("SELECT count(*) FROM parked").fetchone() == (0,)
    purge(river)
    assert_stored(river)


def test_writing_is_due_by_count_size_or_age() -> None:
    policy = Policy()
    assert not policy.due(writer.Pending(0, 0, 0), NOON_MS)
    assert not policy.due(writer.Pending(1, 100, NOON_MS), NOON_MS + 299_999)
    assert policy.due(writer.Pending(1, 100, NOON_MS), NOON_MS + 300_000)
    assert policy.due(writer.Pending(8_000, 100, NOON_MS), NOON_MS)
    assert policy.due(writer.Pending(9, 512 * 1024, NOON_MS), NOON_MS)


def test_the_selection_never_hides_a_wanted_row(river: River) -> None:
    river.flow(150)
    run_here(river)
    river.flow(100)
    everything = stored(river.journal.data)
    chance = random.Random(5)
    for _ in range(15):
        selection = Selection(
            devices=tuple(chance.sample(["stove-1", "weather-1", "building-1"], chance.randrange(3))),
            channels=tuple(chance.sample(["temp", "rh", "door", "note"], chance.randrange(3))),
            from_ms=chance.choice([None, NOON_MS + chance.randrange(4_000_000)]),
            to_ms=chance.choice([None, NOON_MS + chance.randrange(9_000_000)]),
            undated=chance.random() < 0.5,
        )
        assert stored(river.journal.data, selection) == [
            row for row in everything if _wanted(selection, row.device, row.channel, row.measured_ms)
        ], selection


def _wanted(selection: Selection, device: str, channel: str | None, at_ms: int | None) -> bool:
    if selection.devices and device not in selection.devices:
        return False
    if selection.channels and channel not in selection.channels:
        return False
    if at_ms is None:
        return selection.undated or not selection.ranged
    after = selection.from_ms is None or at_ms >= selection.from_ms
    return after and (selection.to_ms is None or at_ms < selection.to_ms)


def test_a_reader_never_makes_a_journal(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no journal"), store.opened(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("torn", [True, False])
def test_a_file_that_is_missing_or_torn_is_named_and_in_nobodys_way(river: River, torn: bool) -> None:
    river.flow(10)
    run_here(river)
    (path,) = lake(river).glob("*.parquet")
    whole = path.read_bytes()
    if torn:
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.unlink()
    for _ in range(2 * MERGE_FILES):  # the writer goes on, and merges what comes after
        river.flow(10)
        run_here(river)
    assert len(list(lake(river).glob("*.parquet"))) < 2 * MERGE_FILES
    said = "damaged" if torn else "missing"
    with pytest.raises(HostError, match=f"{path.name} is {said}"), store.opened(river.journal.data):
        pass
    found = [finding for finding in storage_checks.check(river.journal.data) if finding.bad and finding.what == "lake"]
    assert [finding.state for finding in found] == [f"{path.name} is {said}"]
    path.write_bytes(whole)
    assert_stored(river)
