"""What a query over a data folder says, beside what a river knows to be true."""

from pathlib import Path

from meuse.query import ask, store
from meuse.query.selection import Selection

from tests.host.rivers import River, Truth, sort_key

_COLUMNS = (
    "device, channel, unit, epoch_ms(measured_at), time_quality, value, text, quality,"
    " epoch_ms(received_at), stream, seq, row, boot, uptime_ms, schema_id"
)


def stored(data: Path, selection: Selection = Selection()) -> list[Truth]:  # noqa: B008 - frozen
    """Every selected row of lake and tail, in the order of a query."""
    with store.opened(data, selection) as db:
        rows = db.execute(f"SELECT {_COLUMNS} FROM ({ask.rows(selection)})").fetchall()
    return [Truth(*row) for row in rows]


def assert_stored(river: River) -> None:
    """Each row is there exactly once, in order, and says what was measured."""
    assert stored(river.journal.data) == sorted(river.truth, key=sort_key)
