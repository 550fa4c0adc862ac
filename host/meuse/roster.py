"""Who is known and how far each one is: read from the journal, for `meuse devices`.

Reads what any process may read; whether a host runs now is the caller's to know.
"""

from typing import NamedTuple

from meuse_protocol.received import RangeSet

from meuse.journal.sql import Database


class Entry(NamedTuple):
    """One stream of a device, or a device that has none yet. Times are UTC milliseconds since 1970."""

    device: str
    stream: int | None
    closed: bool
    link: str  # of the last connection; empty if there never was one
    online: bool  # as the host wrote it last
    heard_ms: int | None
    stored: int  # records that are durable
    lost: int  # announced as lost, and not stored
    awaited: int  # numbers used by the board that neither came nor are announced as lost
    ack_ms: int | None  # from arrival to acknowledgement, smoothed


def read(db: Database, closed: bool = False) -> list[Entry]:
    """By device, then by age; `closed`: streams that were replaced as well."""
    rows = db.execute(
        "SELECT device, stream, closed_ms IS NOT NULL, next_seq, received, gapped,"
        " link, coalesce(online, FALSE), heard_ms, ack_ms"
        " FROM (SELECT device FROM devices UNION SELECT device FROM streams) AS known"
        " LEFT JOIN streams USING (device)"
        " LEFT JOIN (SELECT device, link, online, seen_ms AS heard_ms, ack_ms FROM device_status) AS told"
        " USING (device) ORDER BY device, bound_ms"
    )
    entries = [_entry(row) for row in rows]
    return [entry for entry in entries if closed or not entry.closed]


def _entry(row: tuple[str, int | None, int, int, bytes, bytes, str | None, int, int | None, int | None]) -> Entry:
    device, stream, closed, next_seq, received, gapped, link, online, heard_ms, ack_ms = row
    if stream is None:
        return Entry(device, None, False, link or "", bool(online), heard_ms, 0, 0, 0, ack_ms)
    stored, lost = _count(received), _count(gapped)
    awaited = 0 if closed else max(0, next_seq - 1 - stored - lost)
    return Entry(
        device, stream, bool(closed), link or "", bool(online) and not closed, heard_ms, stored, lost, awaited, ack_ms
    )


def _count(ranges: bytes) -> int:
    return sum(last - first + 1 for first, last in RangeSet.from_bytes(ranges).ranges())
