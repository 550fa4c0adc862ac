"""Whatever ends the lake's writer: lake and tail together hold each row exactly once."""

import contextlib
import random
import signal
import subprocess
from pathlib import Path

import duckdb
import pytest
from meuse.lake import files, merge
from meuse.lake.policy import MERGE_FILES

from tests.host.lakes import assert_files_are_whole, lake, lake_made, run_here, start
from tests.host.rivers import River
from tests.host.truths import assert_stored, stored

STEPS = ["range", "write", "sync", "rename", "folder", "done", "end"]
MERGE_STEPS = ["merge " + name for name in ("range", "write", "sync", "rename", "done", "remove", "forget")]


@pytest.fixture
def river(tmp_path: Path):
    made = River(tmp_path, seed=7)
    yield made
    made.journal.close()


def test_a_writer_killed_at_each_step_loses_and_doubles_nothing(river: River) -> None:
    for round_, step in enumerate(STEPS + MERGE_STEPS):
        river.flow(36 if step in MERGE_STEPS else 14)
        killed = start(river, 4, step, "1" if step in MERGE_STEPS else str(1 + round_ % 3))
        assert killed.wait(60) == -signal.SIGKILL, f"never reached {step}"
        river.flow(3)  # facts that arrive in between must not change what the range holds
        assert_stored(river)
    river.settle(len(river.owed))
    assert start(river, 5).wait(60) == 0
    assert_stored(river)
    assert_files_are_whole(river)


def test_a_writer_killed_at_random_moments_loses_and_doubles_nothing(river: River) -> None:
    chance = random.Random(3)
    for _ in range(6):
        river.flow(40)
        running = start(river, 5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0.2, 0.7))
        running.kill()
        running.wait(60)
        assert_stored(river)
    assert start(river, 5).wait(60) == 0
    assert_stored(river)
    assert_files_are_whole(river)


def test_writing_a_range_again_gives_the_same_file(river: River) -> None:
    river.flow(100)
    assert start(river, 1_000, "done").wait(60) == -signal.SIGKILL
    (path,) = lake(river).glob("*.parquet")
    first = path.read_bytes()
    path.write_bytes(first[:100])  # as a torn disk would leave it
    assert run_here(river).recovered == 1
    assert path.read_bytes() == first


def test_a_query_sees_one_moment_while_another_process_writes(river: River) -> None:
    """Snapshots taken as fast as possible while files are written and merged."""
    river.flow(70)
    expected = stored(river.journal.data)
    running = start(river, 3)
    looks = 0
    while running.poll() is None or not looks:
        assert stored(river.journal.data) == expected
        looks += 1
    assert running.wait(60) == 0
    assert_stored(river)


def test_a_full_disk_leaves_the_lake_as_it_was(river: River, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written stands for a disk that is full."""
    river.flow(50)
    folder = lake_made(river)
    folder.chmod(0o500)
    target = folder / "x"
    try:
        target.touch()
    except PermissionError:
        with pytest.raises((OSError, duckdb.Error)):
            run_here(river)
    else:  # root may write everywhere: a folder in the way of the file stops even root
        target.unlink()
        names = [f".{files.journal_id(river.journal.writer._db)}-1-{n}.parquet.tmp" for n in range(99)]
        for name in names:
            (folder / name).mkdir()
        with pytest.raises((OSError, duckdb.Error)):
            run_here(river)
        for name in names:
            (folder / name).rmdir()
    folder.chmod(0o700)
    assert_stored(river)
    run_here(river)
    assert_stored(river)
    assert_files_are_whole(river)


def test_what_killed_processes_left_is_removed(river: River) -> None:
    folder = lake_made(river)
    for name in (".spill", ".spill-4711"):
        (folder / name).mkdir()
        (folder / name / "block").write_text("sorted half")
    (folder / ".x-1-2.parquet.tmp").write_text("half a file")
    river.flow(4)
    run_here(river)
    assert [path.suffix for path in folder.iterdir() if ".lock" not in path.name] == [".parquet"]


def test_merging_refuses_a_file_that_lost_rows(river: River) -> None:
    for _ in range(MERGE_FILES - 1):
        river.flow(4)
        run_here(river)
    db = river.journal.writer._db
    db.execute("UPDATE lake_files SET rows = rows + 1 WHERE first_id = 1")
    river.flow(4)
    with pytest.raises(merge.MergeError):
        run_here(river)
    db.execute("UPDATE lake_files SET rows = rows - 1 WHERE first_id = 1")
    assert_stored(river)
    run_here(river)
    assert_stored(river)
