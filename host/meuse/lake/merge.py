"""Several small files of the lake become one, so that years do not end as a million files.

The new file is made beside the old ones; then, while no reader of ours is at work: it gets its
name, one transaction changes which files count, and the old ones go. A program that lists the
folder by itself can see both for the length of that transaction; (stream, seq, row, channel) tells
doubles apart.
"""

from collections.abc import Sequence
from pathlib import Path

from meuse.journal.sql import Database
from meuse.lake import files, lock, parquet, policy
from meuse.lake.files import Content, LakeFile, transaction
from meuse.lake.writer import Step, no_step


class MergeError(Exception):
    """The merged file does not hold the rows of its sources; the sources stay."""


def recover(db: Database, folder: Path) -> None:
    """Undo a merge that was not decided, finish one that was."""
    for file in files.unfinished(db, files.MERGING) + files.unfinished(db, files.MERGED):
        (folder / file.name).unlink(missing_ok=True)
        files.forget(db, file.name)


def merge_next(db: Database, folder: Path, now_ms: int, step: Step = no_step) -> int:
    """Merge the next neighbours; returns how many files went, 0 also while a reader is there."""
    sources = _next(db, folder)
    if not sources:
        return 0
    first_id, last_id = sources[0].first_id, sources[-1].last_id
    name = files.file_name(files.journal_id(db), first_id, last_id)
    step("merge range")
    files.begin(db, name, first_id, last_id, files.MERGING, now_ms)
    content = _write(folder, name, sources, step)
    with lock.replacing(folder) as alone:
        if not alone:  # a long export; it will be tried again
            files.temporary(folder, name).unlink()
            files.forget(db, name)
            return 0
        _replace(db, folder, name, sources, content, now_ms, step)
    return len(sources)


def _next(db: Database, folder: Path) -> Sequence[LakeFile]:
    """Neighbours to merge; a file that is missing or damaged has none and stands in nobody's way."""
    known = files.done(db)
    if not policy.to_merge(known):
        return []
    run: list[LakeFile] = []
    for file in [*known, None]:
        if file is not None and not files.damage(folder, file):
            run.append(file)
            continue
        if sources := policy.to_merge(run):
            return sources
        run = []
    return []


def _write(folder: Path, name: str, sources: Sequence[LakeFile], step: Step) -> Content:
    temporary = files.temporary(folder, name)
    step("merge write")
    rows = parquet.merge([folder / source.name for source in sources], temporary)
    if rows != sum(source.rows for source in sources):
        raise MergeError(f"{name}: {rows} rows, not {sum(source.rows for source in sources)}")
    step("merge sync")
    files.sync(temporary)
    starts = [source.min_ms for source in sources if source.min_ms is not None]
    ends = [source.max_ms for source in sources if source.max_ms is not None]
    return Content(
        rows,
        temporary.stat().st_size,
        min(starts, default=None),
        max(ends, default=None),
        sum(source.undated for source in sources),
    )


def _replace(
    db: Database,
    folder: Path,
    name: str,
    sources: Sequence[LakeFile],
    content: Content,
    now_ms: int,
    step: Step,
) -> None:
    step("merge rename")
    files.temporary(folder, name).replace(folder / name)
    files.sync(folder)
    step("merge done")
    with transaction(db):
        files.finish(db, name, content, now_ms)
        for source in sources:
            files.set_state(db, source.name, files.MERGED)
    step("merge remove")
    for source in sources:
        (folder / source.name).unlink()
    files.sync(folder)
    step("merge forget")
    with transaction(db):
        for source in sources:
            files.forget(db, source.name)
    step("merge end")
