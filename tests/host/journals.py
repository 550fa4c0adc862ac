"""Journals for tests: real records made by the protocol's encoder, stored by the host's own writer."""

import sqlite3
from pathlib import Path

from meuse.journal.batch import Batch, Binding, Gap, Row
from meuse.journal.database import FILE_NAME, open_reader
from meuse.journal.writer import Writer
from meuse_protocol import columns, messages
from meuse_protocol.schema import Schema

NOON_MS = 1_763_899_200_000  # 2025-11-23T12:00:00Z
STREAM = 0x80000001


class Journal:
    """A journal under `data`; every method that stores returns when it is durable."""

    def __init__(self, data: Path, devices: dict[int, str] | None = None) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.path = data / FILE_NAME
        self.writer = Writer(self.path, NOON_MS)
        self.seqs: dict[int, int] = {}
        for stream, device in (devices or {STREAM: "stove-1"}).items():
            self.writer.commit(Batch(bindings=[Binding(stream, device, NOON_MS, 1)]))

    def store(self, record: bytes, received_ms: int = NOON_MS, stream: int = STREAM, seq: int | None = None) -> int:
        """One record by itself in a transaction; returns its id."""
        return self.store_all([(record, received_ms, stream)], seq)

    def store_all(self, records: list[tuple[bytes, int, int]], seq: int | None = None) -> int:
        rows = []
        for record, received_ms, stream in records:
            number = seq_of(record) if seq is None else seq
            rows.append(Row(stream, number, record[1], received_ms, "tcp", record))
        return self.writer.commit(Batch(rows=rows)).last_id

    def gap(self, first: int, last: int, reason: int, stream: int = STREAM) -> None:
        self.writer.commit(Batch(gaps=[Gap(stream, first, last, reason, "board", NOON_MS)]))

    def seq(self, stream: int = STREAM) -> int:
        """The next number of a stream."""
        self.seqs[stream] = self.seqs.get(stream, 0) + 1
        return self.seqs[stream]

    def reader(self) -> sqlite3.Connection:
        return open_reader(self.path)

    def close(self) -> None:
        self.writer.close()


def seq_of(record: bytes) -> int:
    seq = messages.head(messages.splice(record, 0))[2]
    assert seq is not None
    return seq


def schema_record(seq: int, schema: Schema) -> bytes:
    return messages.record(messages.SCHEMA, seq, *schema.to_body())


def data_record(
    seq: int,
    sid: int,
    times: list[int],
    rows: list[list[object]],
    boot: int | None = None,
) -> bytes:
    return messages.record(messages.DATA, seq, *columns.encode(sid, times, rows, boot))


def single_record(seq: int, sid: int, time: int, values: list[object], boot: int | None = None) -> bytes:
    return messages.record(messages.SINGLE, seq, *columns.single(sid, time, values, boot))


def anchor_record(seq: int, uptime_ms: int, utc_ms: int, err_ms: int, boot: int) -> bytes:
    return messages.record(messages.ANCHOR, seq, uptime_ms, utc_ms, err_ms, boot)


def boot_record(seq: int, boot: int, cause: int = 1, firmware: str = "0.1.0") -> bytes:
    return messages.record(messages.BOOT, seq, boot, cause, firmware)
