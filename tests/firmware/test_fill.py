"""How full packets are: the recorded stove through the board's own batcher, wiring and endpoint, to a host that stores.

Counted are a link-bound stream, a MAC of 4 bytes, seqs from 1,000, no SCHEMA, the last batch. And a day of it over a
slow cable, in virtual time.
"""

from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import pytest
from memory_host import MemoryHost, MemoryJournal
from memory_log import PSK, STREAM, MemoryLog, fill, packets_of
from meuse.measure import Trace, read_trace
from meuse_board.batcher import Batcher
from meuse_board.clock import Clock
from meuse_board.sampler import Group
from meuse_board.wiring import room, width
from meuse_protocol.board_endpoint import BoardEndpoint
from meuse_protocol.messages import FRAG, FRAG0, head, is_record
from meuse_protocol.states import READY

from tests.protocol.simulation import Line, Simulation

FIRST_SEQ = 1000
SETTINGS = {"kind": "lora", "mac_bytes": 4}  # of a link that has a MAC of its own, as LoRaWAN


@pytest.fixture(scope="module")
def trace(root: Path) -> Trace:
    return read_trace(root / "tests/traces/stove.csv")


class Stove:
    """A board up to its link: rows go in, packets come out. `batches`: rows of each record."""

    def __init__(self, trace: Trace, mtu: int) -> None:
        self.trace, self.mtu = trace, mtu
        self.log = MemoryLog(STREAM)
        fill(self.log, FIRST_SEQ - 1)
        self.log.acked(FIRST_SEQ, [])
        self.endpoint = BoardEndpoint("stove-1", STREAM, PSK, self.log, mac_bytes=SETTINGS["mac_bytes"])
        schedule = {"name": "stove", "period_ms": 10_000, "tick_ms": 1000, "max_rows": 1024, "max_age_ms": 86_400_000}
        channels = [{}] * len(trace.channels)
        self.group = Group({**schedule, "channels": channels}, [None] * len(channels))
        self.group.sid = 1
        self.clock = Clock(lambda: 0, lambda a, b: a - b, 1)
        self.clock.sync(0, 0)
        widths = [width(SETTINGS, SimpleNamespace(mtu=mtu))]
        self.batcher = Batcher([self.group], self.clock, room(widths), self._append, self.log.next_seq)
        self.batches: list[int] = []
        self.journal = MemoryJournal({"stove-1": [PSK]})
        self.host = MemoryHost(self.journal, mac_bytes=SETTINGS["mac_bytes"])
        self._now_ms = 0
        self.endpoint.link_up(0, mtu, 1)
        assert self._deliver() == 0 and self.endpoint.state == READY

    def _append(self, kind: int, body: list[object], urgent: bool) -> None:
        self.endpoint.record_added(self.log.append(kind, *body))
        self.batches.append(int(str(body[1])) if kind == 1 else 1)

    def read(self, row: int) -> None:
        self.batcher.add(self.group, self.trace.times[row] * 1000, self.trace.rows[row], False)

    def packets(self) -> int:
        """Delivers everything -> packets that carried records or their parts; each fits the link."""
        carried = 0
        while not carried or self.log.oldest() < self.log.next_seq():
            carried += self._deliver()
        stored = {seq: record for (_, seq), record in self.journal.records.items()}
        assert stored == {seq: r for seq, r in self.log.created.items() if seq >= FIRST_SEQ}
        return carried

    def _deliver(self) -> int:
        carried = 0
        self._now_ms += 100
        for e2e in packets_of(self.endpoint, self._now_ms):
            assert len(e2e) <= self.mtu
            kind = head(e2e)[0]
            carried += is_record(kind) or kind in (FRAG, FRAG0)
            self.host.receive(e2e, self._now_ms, 1_800_000_000_000 + self._now_ms)
        self.host.commit(self._now_ms)
        for e2e in packets_of(self.host.endpoint, self._now_ms):
            self.endpoint.receive(e2e, self._now_ms)
        return carried


@pytest.mark.parametrize(("mtu", "least"), [(51, 10.5), (115, 35), (222, 85.5), (244, 94.5)])
def test_readings_per_packet_of_a_whole_day(trace: Trace, mtu: int, least: float) -> None:
    """The goal for 51 bytes is 5.5; parts of one batch take more. 222 bytes hold 85.54 at best, counted so."""
    stove = Stove(trace, mtu)
    for row in range(len(trace.rows)):
        stove.read(row)
    stove.batcher.close_all()
    packets = stove.packets()
    print(f"{mtu} bytes: {len(trace.rows)} readings in {packets} packets: {len(trace.rows) / packets:.2f} each")
    assert sum(stove.batches) == len(trace.rows)
    assert len(trace.rows) / packets >= least


def test_readings_that_fit_one_packet_of_222_bytes(trace: Trace) -> None:
    """The goal is 86: the mean over the trace, wherever a batch begins."""
    found = []
    for first in range(0, len(trace.rows) - 400, 120):
        stove = Stove(trace, 222)
        row = first
        while not stove.batches:
            stove.read(row)
            row += 1
        found.append(stove.batches[0])
        assert stove.packets() == 1
    print(f"{mean(found):.2f} readings, {min(found)} to {max(found)}")
    assert mean(found) >= 86


def test_a_day_drains_over_9600_baud_in_less_than_a_minute(trace: Trace) -> None:
    """8,640 readings in batches of 60, MAC of 8 bytes: bytes of whole frames, ten bits each, on a simulated line."""
    sim = Simulation(1, Line(bits_per_s=9600 * 8 // 10, delay_ms=1))
    stove = Stove(trace, 1024)
    stove.group.settings["max_rows"] = 60
    stove.batcher = Batcher([stove.group], stove.clock, 1024, lambda *r: sim.log.append(r[0], *r[1]), sim.log.next_seq)
    for row in range(len(trace.rows)):
        stove.read(row)
    stove.batcher.close_all()
    assert len(sim.log.created) == len(trace.rows) // 60
    assert sim.run(3_600_000, sim.drained)
    assert {seq: record for (_, seq), record in sim.journal.records.items()} == sim.log.created
    line_s, back_s = (way.count.bytes * 10 / 9600 for way in (sim.up, sim.down))
    print(f"{sim.up.count.bytes} bytes: {line_s:.1f} s of line time, {back_s:.1f} s back; done after {sim.now_ms} ms")
    assert line_s < 60
    assert sim.now_ms < 60_000, "the line is never idle for long"
