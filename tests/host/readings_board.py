"""A light board that measures: a schema, rows at times of the test's choice, and what it should all come to."""

import time

from meuse_protocol import columns, messages
from meuse_protocol.schema import Schema

from tests.host.light_board import LightBoard

CHANNELS = [("flue_temp", "Cel", -1, 0), ("room_temp", "Cel", -1, 0), ("pellets", "kg", 0, 1)]
SCHEMA = Schema(1, "stove", 1, CHANNELS)  # ticks of a millisecond


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


class ReadingsBoard(LightBoard):
    """`begin()`, then `measure` as often as is liked; `rows` is what a backend must get: (device, seq, row)."""

    def __init__(self, device: str, key: bytes | None) -> None:
        super().__init__(device, key)
        self.rows: list[tuple[str, int, int]] = []
        self._count = 0

    def begin(self, boot: int = 1) -> None:
        self.put(messages.BOOT, boot, 1, "meuse 1.0")
        self.announce(SCHEMA)

    def put(self, kind: int, *body: object) -> int:
        """Any record -> its seq."""
        seq: int = self.log.append(kind, *body)
        self.endpoint.record_added(seq)
        self._pump()
        return seq

    def measure(self, rows: int = 1, age_ms: int = 0, values: list[object] | None = None) -> int:
        """A record of so many rows, 10 ms apart, the newest of them `age_ms` old -> its seq."""
        newest = utc_ms() - age_ms
        times = [newest - 10 * (rows - 1 - row) for row in range(rows)]
        if rows == 1:
            seq = self.put(messages.SINGLE, *columns.single(1, times[0], values or self._values()))
        else:
            seq = self.put(messages.DATA, *columns.encode(1, times, [self._values() for _ in times]))
        self.rows += [(self.device, seq, row) for row in range(rows)]
        return seq

    def lose(self, count: int) -> None:
        """The log was full: these numbers will not come."""
        first = self.log.next_seq()
        self.log._next += count
        self.put(messages.GAP, first, first + count - 1, messages.GAP_LOG_FULL)

    def measure_without_clock(self, boot: int, uptime_ms: int) -> int:
        seq = self.put(messages.SINGLE, *columns.single(1, uptime_ms, self._values(), boot))
        self.rows.append((self.device, seq, 0))
        return seq

    def _values(self) -> list[object]:
        self._count += 1
        return [200 + self._count % 50, 210, self._count]
