"""Which records of a segment outlive it: those without which later ones cannot be read or dated.

The only part of the log that knows what a record says. Refuses to know why a segment goes.
"""

from meuse_protocol.messages import ANCHOR, BOOT, SCHEMA

from .log_layout import find, numbered

SEARCH_BYTES = 16384  # read in damaged places: a flush must end long before the watchdog bites


def still_needed(path: str, stream: int, cum: int, room: int):
    """Of the records from `cum` on: each schema, the newest boot, the newest anchor; `room` bytes at most.

    Earlier boots and anchors date only what lies before them, and that goes too. What stands behind a
    wide damaged place is not found. OSError: unreadable.
    """
    search = [SEARCH_BYTES]
    needed = {}
    at = 0
    while True:
        seq, record, at, _, _ = find(path, stream, at, cum, search)
        if seq <= 0:
            return needed.values()
        if seq < cum:
            continue
        _, start, body = numbered(record)
        kind = record[start - 1]
        if kind == SCHEMA:
            kind += record[body] << 8  # its sid is one byte
        elif kind not in (BOOT, ANCHOR):
            continue
        if kind not in needed:
            room -= len(record)
            if room < 0:
                continue
        needed[kind] = record
