"""Seeded journals with a known truth: what boards measured, and what the logical table must say.

The expectation is plain Python with Decimal; it shares no code with the host's decoder.
"""

import random
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from meuse_protocol import quality
from meuse_protocol.schema import Schema

from tests.host.journals import (
    NOON_MS,
    Journal,
    anchor_record,
    boot_record,
    data_record,
    schema_record,
    single_record,
)

DEVICES = {0x80000001: "stove-1", 0x80000002: "weather-1", 0x80000003: "building-1"}
SCHEMAS = [
    Schema(1, "air", 1_000, [("temp", "Cel", -1, 0), ("rh", "%RH", -2, 0), ("fan", "1/min", 0, 0)]),
    Schema(2, "state", 100, [("door", "", 0, 2), ("note", "", 0, 0)]),
]
REASONS = {
    quality.DEVICE_MISSING: "device_missing",
    quality.BUS_ERROR: "bus_error",
    quality.OPEN: "open",
}


class Truth(NamedTuple):
    """One row of the logical table, as it must come out."""

    device: str
    channel: str | None
    unit: str | None
    measured_ms: int | None
    time_quality: str
    value: float | None
    text: str | None
    quality: str
    received_ms: int
    stream: int
    seq: int
    row: int
    boot: int | None
    uptime_ms: int | None
    schema_id: int


class Owed(NamedTuple):
    """A schema or an anchor that has not arrived, and what the table says before and after."""

    stream: int
    schema: Schema | None
    anchor: tuple[int, int, int, int] | None  # uptime_ms, utc_ms, err_ms, boot
    before: list[Truth]
    after: list[Truth]


class River:
    """Writes records and remembers what they mean."""

    def __init__(self, data: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.journal = Journal(data, DEVICES)
        self.truth: list[Truth] = []
        self.now_ms = NOON_MS
        self.boots = dict.fromkeys(DEVICES, 1)
        self.owed: list[Owed] = []
        self.announced: set[tuple[int, int]] = set()
        for stream in DEVICES:
            self._store(boot_record(self.journal.seq(stream), 1), stream)

    def flow(self, records: int) -> None:
        """More records, of all devices in turn, some of them late, single or without a clock."""
        for _ in range(records):
            stream = self.chance.choice(list(DEVICES))
            schema = self.chance.choice(SCHEMAS)
            self.now_ms += self.chance.randrange(1, 60_000)
            if (stream, schema.sid) not in self.announced:
                self._announce_late(stream, schema)
            elif self.chance.random() < 0.1:
                self._without_clock(stream, schema)
            else:
                late_ms = self.chance.choice([0, 0, 0, 3_600_000])
                self.truth += self._with_clock(stream, schema, late_ms)
            if self.chance.random() < 0.2:
                self.settle(1)

    def settle(self, most: int) -> None:
        """Some of the schemas and anchors that are owed arrive."""
        for _ in range(min(most, len(self.owed))):
            owed = self.owed.pop(self.chance.randrange(len(self.owed)))
            seq = self.journal.seq(owed.stream)
            if owed.schema is not None:
                self._store(schema_record(seq, owed.schema), owed.stream)
                self.announced.add((owed.stream, owed.schema.sid))
            if owed.anchor is not None:
                self._store(anchor_record(seq, *owed.anchor), owed.stream)
            self.truth = [row for row in self.truth if row not in owed.before] + owed.after

    def _announce_late(self, stream: int, schema: Schema) -> None:
        """Readings first, their schema later; only one such record at a time."""
        if any(owed.schema is schema and owed.stream == stream for owed in self.owed):
            return
        after = self._with_clock(stream, schema, 0)
        seq, record = after[0].seq, self.last
        before = Truth(
            DEVICES[stream], None, None, None, "undated", None, record.hex(), "unknown_schema",
            self.now_ms, stream, seq, 0, None, None, schema.sid,
        )  # fmt: skip
        self.truth.append(before)
        self.owed.append(Owed(stream, schema, None, [before], after))

    def _with_clock(self, stream: int, schema: Schema, late_ms: int) -> list[Truth]:
        start = (self.now_ms - late_ms) // schema.tick_ms
        times = self._times(start)
        if late_ms and self.chance.random() < 0.1:
            times = [0]  # a board that believes it is 1970
        return self._write(stream, schema, times, None, 0)

    def _without_clock(self, stream: int, schema: Schema) -> None:
        """A boot of its own, whose anchor comes some time after its readings."""
        self.boots[stream] += 1
        boot = self.boots[stream]
        self._store(boot_record(self.journal.seq(stream), boot), stream)
        times = self._times(self.chance.randrange(100))
        start_ms = self.now_ms - 3_600_000
        after = self._write(stream, schema, times, boot, start_ms)
        before = [row._replace(measured_ms=None, time_quality="undated") for row in after]
        self.truth += before
        self.owed.append(Owed(stream, None, (60_000, start_ms + 60_000, 20, boot), before, after))

    def _times(self, start: int) -> list[int]:
        times = [start]
        for _ in range(self.chance.randrange(12)):
            times.append(times[-1] + self.chance.choice([1, 1, 1, 1, 0, 7]))
        return times

    def _write(self, stream: int, schema: Schema, times: list[int], boot: int | None, start_ms: int) -> list[Truth]:
        made = []
        seq = self.journal.seq(stream)
        rows = [[self._element(channel) for channel in schema.channels] for _ in times]
        if len(times) == 1 and self.chance.random() < 0.5:
            record = single_record(seq, schema.sid, times[0], rows[0], boot)
        else:
            record = data_record(seq, schema.sid, times, rows, boot)
        self._store(record, stream)
        for i, ticks in enumerate(times):
            spoken_ms = ticks * schema.tick_ms
            measured_ms = spoken_ms if boot is None else start_ms + spoken_ms
            how = "repaired" if boot is not None else "absurd" if not ticks else "synced"
            for channel, element in zip(schema.channels, rows[i], strict=True):
                value, text, reason = meaning(element, channel[2])
                made.append(
                    Truth(
                        DEVICES[stream],
                        channel[0],
                        channel[1],
                        measured_ms,
                        how,
                        value,
                        text,
                        reason,
                        self.now_ms,
                        stream,
                        seq,
                        i,
                        boot,
                        None if boot is None else spoken_ms,
                        schema.sid,
                    )
                )
        return made

    def _element(self, channel: tuple[str, str, int, int]) -> object:
        if channel[0] == "note":
            return self.chance.choice([None, "on", "off", b"\x00\x01", True, 1.25])
        if self.chance.random() < 0.05:
            return [-self.chance.choice(list(REASONS))]
        return self.chance.choice([self.chance.randrange(-300, 3_000), 2**40 + 1])

    def _store(self, record: bytes, stream: int) -> None:
        self.last = record
        self.journal.store(record, self.now_ms, stream)


def meaning(element: object, exp10: int) -> tuple[float | None, str | None, str]:
    """(value, text, quality) of an element, by Python's decimal arithmetic."""
    if element is None:
        return None, None, "missing"
    if isinstance(element, list):
        return None, None, REASONS[-element[0]]
    if isinstance(element, str):
        return None, element, "good"
    if isinstance(element, bytes):
        return None, element.hex(), "good"
    if isinstance(element, bool | float):
        return float(element), None, "good"
    assert isinstance(element, int)
    return float(Decimal(element).scaleb(exp10)), None, "good"


def sort_key(truth: Truth) -> tuple[object, ...]:
    """The order of query and export: undated last."""
    undated = truth.measured_ms is None
    moment = truth.measured_ms or 0
    channel = (truth.channel is None, truth.channel or "")  # as DuckDB sorts: null last
    return truth.device, channel, undated, moment, truth.stream, truth.seq, truth.row
