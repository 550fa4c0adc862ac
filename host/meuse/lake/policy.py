"""When the lake is written and when its files are merged; numbers and their reasons, no IO."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar


class Pending(NamedTuple):
    """What the lake has not taken yet; `oldest_ms`: receipt of its first record."""

    records: int
    bytes: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Write when any of the first three is reached; stop a file at one of the next two."""

    # What a query decodes in Python is at most about this much: some tenths of a second.
    due_records: int = 8_000
    due_bytes: int = 512 * 1024
    # Other programs open the files, not the journal: this is how old their view may be.
    due_age_ms: int = 300_000
    # Memory of the writer: about 200 bytes per value at its peak, on top of 60 MB.
    file_values: int = 500_000
    file_records: int = 64_000
    # A record that cannot be decoded or dated is written as it stands after 7 days.
    parked_ms: int = 7 * 86_400_000

    def due(self, pending: Pending, now_ms: int) -> bool:
        if not pending.records:
            return False
        many = pending.records >= self.due_records or pending.bytes >= self.due_bytes
        return many or now_ms - pending.oldest_ms >= self.due_age_ms


class Sized(Protocol):
    """A file of the lake, as far as merging cares."""

    @property
    def rows(self) -> int: ...


File = TypeVar("File", bound=Sized)

# So many neighbours of one size class become one file.
MERGE_FILES: Final = 8
# Upper ends of the classes that are merged: half a row group of a Parquet file, and somewhat less
# than a full file of the writer, since writing that again would cost more than it helps.
MERGE_BELOW_ROWS: Final = (65_536, 400_000)


def to_merge(files: Sequence[File]) -> Sequence[File]:
    """The oldest neighbours worth merging, in order; empty if there are none.

    A file is written again only with MERGE_FILES of its own class, so at most twice by merging
    (and a tiny one log2 times more). Left over: under 64 files, plus eight per 400,000 rows
    at the worst, one per 500,000 on a busy host.
    """
    above = 0
    for limit in MERGE_BELOW_ROWS:
        run: list[File] = []
        members = 0
        for file in files:
            if file.rows >= limit:
                run, members = [], 0
                continue
            run.append(file)
            members += file.rows >= above
            if members == MERGE_FILES:
                return run
        above = limit
    return []
