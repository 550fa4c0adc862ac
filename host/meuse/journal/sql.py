"""What every part of the host may ask of a journal's connection, whichever database is behind it.

`Database` satisfies it as it is; PostgreSQL behind a thin shell. SQL in the parts is what both understand:
`?` for arguments, `ON CONFLICT`, `RETURNING`, TRUE and FALSE, columns of joins and groups named in full, every
subquery with a name. What one of them says otherwise stands in journal/, nowhere else.

`BEGIN` opens one view of everything, for reading; `BEGIN IMMEDIATE` a transaction that writes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

# As LIMIT: all of them.
NO_LIMIT = 1 << 62


class Cursor(Protocol):
    """The rows of one statement, as tuples of int, str, bytes, bool or None."""

    @property
    def rowcount(self) -> int:
        """Rows that an INSERT, UPDATE or DELETE changed."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> object: ...


class Database(Protocol):
    """One connection; of one thread at a time."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor: ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object: ...

    def close(self) -> None: ...
