"""What a store in PostgreSQL holds, asked from wherever a test is."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from meuse.postgres import Address
from meuse.store.connection import Connection

from tests.host.rivers import Truth, sort_key

TRUTH = (
    "SELECT device, channel, unit, (extract(epoch FROM measured_at) * 1000)::bigint, time_quality, value, text,"
    ' quality, (extract(epoch FROM received_at) * 1000)::bigint, stream, seq, "row", boot, uptime_ms, schema_id'
    " FROM readings"
)


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """By a connection of its own; also on a running event loop, which waits."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_rows, url, sql).result()


def _rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    db = Connection(Address(url))
    try:
        return db.run(sql)
    finally:
        db.close()


def truths(url: str) -> list[Truth]:
    """Every row, in the order of a query."""
    return sorted((Truth(*row) for row in rows(url, TRUTH)), key=sort_key)


def good(url: str) -> int:
    """Records of which at least one value is there; 0 while there is no table."""
    if rows(url, "SELECT to_regclass('readings')::text") == [(None,)]:
        return 0
    [(count,)] = rows(url, "SELECT count(DISTINCT (stream, seq)) FROM readings WHERE quality = 'good'")
    return int(count)
