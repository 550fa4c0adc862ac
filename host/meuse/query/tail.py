"""The journal's tail as arrays: records the lake has not taken, and those that are parked."""

from collections.abc import Iterator

from meuse import catalog
from meuse.catalog import Facts
from meuse.decode import Stored, decode
from meuse.journal.sql import Database
from meuse.lake import files
from meuse.query.selection import Selection
from meuse.readings import Arrays, Readings


def load(db: Database, facts: Facts, selection: Selection) -> Arrays:
    """Rows of every selected record that no finished file holds; dated as far as is known now.

    Part of the read transaction that also lists the files.
    """
    readings = Readings(facts)
    streams = {stream for stream, origin in facts.origins.items() if selection.wants_device(origin.device)}
    for stored in _records(db):
        if selection.devices and stored.stream not in streams:
            continue
        block = decode(stored, facts)
        block = block and selection.narrowed(block)
        if block is not None:
            readings.add(block)
    return readings.arrays()


def _records(db: Database) -> Iterator[Stored]:
    columns = "id, stream, seq, type, received_ms, record"
    start = catalog.position(db, files.CURSOR)
    parked = f"SELECT {columns} FROM parked JOIN records ON id = record_id WHERE id <= ?"
    newer = f"SELECT {columns} FROM records WHERE id > ? ORDER BY id"
    for query in parked, newer:
        yield from map(Stored._make, db.execute(query, (start,)))
