"""From rows of the journal to messages. Runs on the journal's reading thread only; knows no broker.

Keeps the catalog in memory and looks at every record once per lane. Bounded: a call ends with the record that makes
its messages exceed ENOUGH_BYTES.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from meuse_protocol import messages as wire
from meuse_protocol import names as wire_names
from meuse_protocol.errors import RemoteError

from meuse import board_words, catalog, decode
from meuse.catalog import Origin
from meuse.decode import Block, Stored
from meuse.delivery import Delivery
from meuse.journal.sql import Database
from meuse.query.around import word
from meuse.topics import forms
from meuse.topics.forms import Form, Timed
from meuse.topics.names import BACKFILL, EVENT, HOST, RAW, TELEMETRY, moment, of
from meuse.topics.progress import NEVER

TAKE_RECORDS: Final = 100
ENOUGH_BYTES: Final = 512 * 1024

# So long a record waits for its schema or its clock; then it goes as it is.
WAIT_MS: Final = 86_400_000

_COLUMNS: Final = "id, stream, seq, type, received_ms, record"

READINGS: Final = (wire.DATA, wire.SINGLE)


Readings = tuple[Block, Timed]
Range = tuple[int, int]


class Message(NamedTuple):
    topic: str
    payload: bytes


class Taken(NamedTuple):
    """One record, or event: its messages, and where it belongs."""

    id: int
    messages: list[Message]
    late: bool = False  # for the other lane, or for the host
    waits: bool = False
    readings: Readings | None = None


class Batch(NamedTuple):
    """What one call found. `resolved`: streams of which something became known that records may have waited for."""

    taken: list[Taken]
    resolved: set[int]
    passed: int  # live: records up to this one are old, all of them; late: nothing else is there up to this one


class Reader:
    """`live` and `late` read records, `events` and `gaps` what stands beside them; `delivered` is for workers."""

    def __init__(self, journal_id: str, live_within_ms: int, raw: bool) -> None:
        self.facts = catalog.Facts()
        self._facts_id = -1
        self._devices: dict[str, Origin] = {}
        self.firmware: dict[str, catalog.BootRow] = {}  # device -> its newest boot
        self._journal_id = journal_id
        self._live_within_ms = live_within_ms
        self._raw = raw
        self.handed = NEVER

    def live(self, db: Database, after: int, now_ms: int) -> Batch:
        """The next records; those that are old on arrival are only marked `late`."""
        passed = self._old(db, after, now_ms)
        found = self._records(db, max(after, passed) + 1, None)
        taken = _enough(self._take(one, now_ms, late=False, ours=one.id <= self.handed) for one in found)
        return Batch(taken, _resolving(found[: len(taken)]), passed)

    def late(self, db: Database, ranges: list[Range], left: list[Range], now_ms: int) -> Batch:
        """Records within `ranges`, ascending and not far apart: they go to backfill, those of workers if in `left`."""
        found = [one for one in self._records(db, ranges[0][0], ranges[-1][1]) if within(ranges, one.id)]
        taken = _enough(
            self._take(one, now_ms, late=True, ours=one.id <= self.handed or within(left, one.id)) for one in found
        )
        passed = ranges[-1][1] if len(taken) == len(found) else taken[-1].id
        return Batch(taken, _resolving(found[: len(taken)]), passed)

    def delivered(self, found: list[Stored], now_ms: int) -> list[Taken]:
        """The first of these readings of a batch. What is live has messages; `late` and `waits` are for the host."""
        live_ms = now_ms - self._live_within_ms

        def take(one: Stored) -> Taken:
            return Taken(one.id, [], late=True) if one.received_ms < live_ms else self._take(one, now_ms, late=False)

        return _enough(take(one) for one in found)

    def seen(self, db: Database, after: int, last: int) -> tuple[list[Readings], int]:
        """Readings that were published, and the last record looked at; 0 when there are no more up to `last`."""
        found = self._records(db, after + 1, last)
        blocks = [decode.decode(stored, self.facts) for stored in found if stored.type in READINGS]
        good = [block for block in blocks if block is not None and not block.waits and block.quality == decode.GOOD]
        return [(block, forms.timed(block)) for block in good], found[-1].id if found else 0

    def resolved(self, db: Database, streams: set[int], first: int, last: int) -> list[int]:
        """Ids of records of `streams` between two ids."""
        found: list[int] = []
        for stream in streams:
            rows = db.execute(
                "SELECT id FROM records WHERE stream = ? AND id BETWEEN ? AND ? ORDER BY id", (stream, first, last)
            )
            found.extend(id for (id,) in rows)
        return found

    def expired(self, db: Database, first: int, last: int, now_ms: int) -> int:
        """The last record between two ids that came so long ago that nothing is to be waited for; 0 if none did."""
        row = db.execute(
            "SELECT max(id) FROM (SELECT id, received_ms FROM records WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?)"
            " AS oldest WHERE received_ms < ?",
            (first, last, TAKE_RECORDS, now_ms - WAIT_MS),
        ).fetchone()
        return int(row[0] or 0)

    def events(self, db: Database, after: int) -> list[Taken]:
        """What the host noted."""
        self._learn(db, [])
        rows = db.execute(
            "SELECT id, at_ms, device, kind, detail FROM events WHERE id > ? ORDER BY id LIMIT ?",
            (after, TAKE_RECORDS),
        ).fetchall()
        return [
            Taken(id, [self._event(device, f"e{id}", at_ms, kind, {"detail": detail})])
            for id, at_ms, device, kind, detail in rows
        ]

    def gaps(self, db: Database, after: int) -> list[Taken]:
        """Records that will not come, as boards and the host noted them."""
        rows = db.execute(
            "SELECT gaps.rowid, device, stream, first_seq, last_seq, reason, source, recorded_ms"
            " FROM gaps LEFT JOIN streams USING (stream) WHERE gaps.rowid > ? ORDER BY gaps.rowid LIMIT ?",
            (after, TAKE_RECORDS),
        ).fetchall()
        taken = []
        for id, device, stream, first, last, reason, source, at_ms in rows:
            known = last != 0xFFFFFFFF
            more = {
                "stream": stream,
                "first_seq": first,
                "last_seq": last if known else None,
                "records": last - first + 1 if known else None,
                "reason": word(wire_names.GAP_REASONS, reason),
                "source": source,
            }
            taken.append(Taken(id, [self._event(device, f"g{id}", at_ms, "gap", more)]))
        return taken

    # -- inside

    def _old(self, db: Database, after: int, now_ms: int) -> int:
        """The last record behind `after` that came too long ago to be live; 0 when the next is young.

        Found by halving: times of receipt rise with the ids, but for steps of the host's clock.
        """
        before_ms = now_ms - self._live_within_ms

        def young(id: int) -> bool:
            row = db.execute("SELECT received_ms FROM records WHERE id >= ? ORDER BY id LIMIT 1", (id,)).fetchone()
            return row is None or row[0] >= before_ms

        if young(after + 1):
            return 0
        low = after + 1
        high: int = db.execute("SELECT max(id) FROM records").fetchone()[0] + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if young(middle) else (middle, high)
        return low

    def learn(self, db: Database) -> None:
        """Everything that is known now."""
        self._learn(db, [])

    def learn_from(self, found: Delivery) -> None:
        """What a batch says itself: where its records come from, and what they say of others."""
        self.facts.origins.update(found.origins)
        self._devices.update((origin.device, origin) for origin in found.origins.values())
        for one in found.records:
            known = catalog.fact(one.stream, one.type, one.received_ms, one.record)
            if known is not None:
                self.facts.add(known)

    def learn_anew(self, db: Database) -> None:
        """Devices may have another tenant or site."""
        self._facts_id = -1
        self._learn(db, [])

    def _records(self, db: Database, first: int, last: int | None) -> list[Stored]:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE id >= ? AND id <= coalesce(?, id) ORDER BY id LIMIT ?",
            (first, last, TAKE_RECORDS),
        )
        found = [Stored(*row) for row in rows]
        if found:
            self._learn(db, found)
        return found

    def _learn(self, db: Database, found: list[Stored]) -> None:
        (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
        if self._facts_id < 0 or any(one.stream not in self.facts.origins for one in found):
            self.facts = catalog.load(db)
            self._devices = {origin.device: origin for origin in self.facts.origins.values()}
            for boot in sorted(self.facts.boots.values(), key=lambda row: row.received_ms):
                self._booted(boot)
        elif newest > self._facts_id:
            catalog.update(self.facts, db, self._facts_id)
        self._facts_id = newest

    def _take(self, stored: Stored, now_ms: int, late: bool, ours: bool = True) -> Taken:
        """`ours`: else workers publish its readings, and here they are only among the newest values."""
        origin = self.facts.origin(stored.stream)
        if not origin.device:
            return Taken(stored.id, [])  # of no device: there is no topic for it
        if stored.type not in READINGS:
            return Taken(stored.id, self._fact(stored))
        block = decode.decode(stored, self.facts)
        if block is None:
            return Taken(stored.id, [])
        if block.waits and stored.received_ms > now_ms - WAIT_MS:
            return Taken(stored.id, [], waits=True)
        if block.quality != decode.GOOD:
            unread = [self._unread(stored, decode.QUALITIES[block.quality])]
            return Taken(stored.id, unread if ours else [])
        when = forms.timed(block)
        if not ours:
            return Taken(stored.id, [], readings=(block, when))
        if not late and not self._young(stored, when):
            return Taken(stored.id, [], late=True)
        schema = self.facts.schemas[stored.stream, block.sid or 0].name
        form = forms.readings(block, when, origin, schema)
        what = BACKFILL if late else TELEMETRY
        messages = [Message(of(origin, what), payload) for payload in forms.pieces(form)]
        if self._raw:
            topic = of(origin, f"{RAW}/{what}")
            messages += [Message(topic, payload) for payload in forms.pieces(form, forms.to_msgpack)]
        return Taken(stored.id, messages, readings=(block, when))

    def _young(self, stored: Stored, when: Timed) -> bool:
        return when.newest is not None and when.newest_ms >= stored.received_ms - self._live_within_ms

    def _fact(self, stored: Stored) -> list[Message]:
        """What boots, clocks and records that are no readings say, as events."""
        if stored.type in (wire.SCHEMA, wire.GAP):
            return []  # a schema is in every message; gaps have a table of their own
        if stored.type == wire.BLOB and board_words.of(stored.record):
            return []  # the host has noted its words
        known = catalog.fact(stored.stream, stored.type, stored.received_ms, stored.record)
        if isinstance(known, catalog.BootRow):
            self._booted(known)
            cause = word(wire_names.BOOT_CAUSES, known.cause)
            return [self._of_record(stored, "boot", boot=known.boot, cause=cause, firmware=known.firmware)]
        if isinstance(known, catalog.AnchorRow):
            at = {"boot": known.boot, "uptime_ms": known.uptime_ms, "utc": moment(known.utc_ms)}
            return [self._of_record(stored, "clock-set", **at, error_ms=known.err_ms)]
        if stored.type == wire.RESULT:
            return [self._of_record(stored, "result", **_result(stored))]
        return [self._unread(stored, "raw")]

    def _booted(self, boot: catalog.BootRow) -> None:
        before = self.firmware.get(self.facts.origin(boot.stream).device)
        if before is None or before.received_ms <= boot.received_ms:
            self.firmware[self.facts.origin(boot.stream).device] = boot

    def _unread(self, stored: Stored, why: str) -> Message:
        """Nothing that a device sent is dropped without a word."""
        return self._of_record(stored, "unread-record", why=why, type=stored.type, record=stored.record.hex())

    def _of_record(self, stored: Stored, kind: str, **more: Any) -> Message:
        origin = self.facts.origin(stored.stream)
        where = {"stream": stored.stream, "seq": stored.seq}
        return self._event(origin.device, f"{stored.stream}-{stored.seq}", stored.received_ms, kind, where | more)

    def _event(self, device: str | None, id: str, at_ms: int, kind: str, more: Form) -> Message:
        """`id` is unique with the journal's; an event of no device is the host's."""
        form: Form = {"id": f"{self._journal_id}-{id}", "at": moment(at_ms), "kind": kind}
        if device is None:
            return Message(f"{HOST}/{EVENT}", forms.to_json(form | more))
        origin = self.origin_of(device)
        whose = {"tenant": origin.tenant, "site": origin.site, "device": device}
        return Message(of(origin, EVENT), forms.to_json(whose | form | more))

    def origin_of(self, device: str) -> Origin:
        return self._devices.get(device) or Origin(device, "default", "default")


def _enough(found: Iterator[Taken]) -> list[Taken]:
    """As many as fit into one call."""
    taken: list[Taken] = []
    size = 0
    for one in found:
        taken.append(one)
        size += sum(len(message.payload) for message in one.messages)
        if size > ENOUGH_BYTES:
            break
    return taken


def within(ranges: list[Range], id: int) -> bool:
    return any(first <= id <= last for first, last in ranges)


def _resolving(found: list[Stored]) -> set[int]:
    return {one.stream for one in found if one.type in (wire.SCHEMA, wire.ANCHOR)}


def _result(stored: Stored) -> Form:
    """What became of a command."""
    try:
        fields = decode.fields_of(stored.record)
        wire.check(fields)
    except RemoteError:
        return {"record": stored.record.hex()}
    return {"command": fields[3], "code": word(wire_names.RESULTS, fields[4])}
