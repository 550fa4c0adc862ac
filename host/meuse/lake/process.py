"""One run of the lake's writer: recover, write what is due, merge, and end.

A process of its own (`python -m meuse.lake DATA`): decoding and sorting then cost the host neither
its interpreter lock nor its memory, and whatever ends it here ends nothing else.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from meuse.journal.place import Place
from meuse.journal.sql import Database
from meuse.lake import files, lock, merge, parquet, writer
from meuse.lake.policy import Policy
from meuse.lake.writer import Step, no_step


class Done(NamedTuple):
    """What a run did; all 0 when another process was writing."""

    recovered: int
    records: int
    merged: int


def run(
    data: Path | Place,
    policy: Policy,
    utc_ms: Callable[[], int],
    everything: bool = False,
    step: Step = no_step,
) -> Done:
    """Write one file, and more while something is due or, with `everything`, left.

    Raises sqlite3.Error, OSError or duckdb.Error with nothing half done that the next run does not
    finish.
    """
    place = data if isinstance(data, Place) else Place(data)
    folder = files.make_folder(place.data)
    with lock.writing(folder) as alone:
        if not alone:
            return Done(0, 0, 0)
        db = place.open_lake()
        try:
            return _run(db, folder, policy, utc_ms, everything, step)
        finally:
            db.close()


def _run(
    db: Database,
    folder: Path,
    policy: Policy,
    utc_ms: Callable[[], int],
    everything: bool,
    step: Step,
) -> Done:
    _tidy(folder)
    merge.recover(db, folder)
    recovered = writer.recover(db, folder, policy, utc_ms(), step)
    records = merged = 0
    while taken := writer.write_next(db, folder, policy, utc_ms(), step):
        records += taken
        while went := merge.merge_next(db, folder, utc_ms(), step):
            merged += went
        if not everything and not policy.due(writer.pending(db, policy), utc_ms()):
            break
    return Done(recovered, records, merged)


def _tidy(folder: Path) -> None:
    """Remove what killed processes left: files that grew, and sorts that did not fit their memory."""
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()
    shutil.rmtree(folder / parquet.SPILL, ignore_errors=True)
    with lock.replacing(folder) as alone:
        if alone:
            for left in folder.glob(f"{parquet.SPILL}-*"):
                shutil.rmtree(left, ignore_errors=True)
