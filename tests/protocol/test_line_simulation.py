"""What a bad line costs, in virtual time and from seeds: goals for loss, and everything else arrives.

All numbers count whole frames of both directions: framing, CRC, MAC, HELLO, ACK, TIME.
"""

from dataclasses import replace
from statistics import mean

import pytest
from memory_host import MemoryHost
from memory_log import PSK, STREAM
from meuse_protocol import states
from meuse_protocol.board_endpoint import BoardEndpoint
from simulation import Line, Simulation, transfer

from tests.protocol.effort import RECORDS

PER_RUN = 1500
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

# loss: transmissions per record, bytes per useful byte, share of the line's rate
GOALS = {
    0.0: (1.005, 1.08, 0.97),
    0.05: (1.08, 1.15, 0.90),
    0.2: (1.28, 1.35, 0.75),
    0.4: (1.75, 1.85, 0.50),
}


@pytest.mark.parametrize("reorder", [0.0, 0.1])
@pytest.mark.parametrize("loss", list(GOALS))
def test_what_loss_costs(loss: float, reorder: float) -> None:
    line = Line(loss=loss, reorder=reorder)
    runs = max(2, RECORDS // PER_RUN // (2 * len(GOALS)))
    found = [
        transfer(seed, line, PER_RUN, ordered=not reorder) for seed in range(1, runs + 1)
    ]
    transmissions, size, goodput = GOALS[loss]
    assert mean(result.transmissions for result in found) <= transmissions
    assert mean(result.bytes for result in found) <= size
    assert mean(result.goodput for result in found) >= goodput


BASE = Line(bits_per_s=100_000, delay_ms=50)
LINES = {
    "quick": replace(BASE, bits_per_s=10_000_000, delay_ms=1),
    "slow": replace(BASE, bits_per_s=1_200, delay_ms=20),
    "far": replace(BASE, delay_ms=3000),
    "bursts": replace(BASE, burst_loss=0.9, burst_enter=0.02, burst_leave=0.1, loss=0.01),
    "reordered": replace(BASE, reorder=0.1, loss=0.05),
    "worse upwards": replace(BASE, loss=0.4, loss_down=0.0),
    "worse downwards": replace(BASE, loss=0.05, loss_down=0.6),
    "doubled": replace(BASE, duplicate=0.05, loss=0.05),
    "all of it": replace(BASE, reorder=0.1, duplicate=0.05, loss=0.2),
    "bit errors": replace(BASE, bit_errors=1e-4),
    "many bit errors": replace(BASE, bit_errors=5e-4, duplicate=0.05),
    "half duplex": replace(BASE, half_duplex=True, loss=0.1),
    "outages": replace(BASE, outages=[(500, 1500), (5000, 20_000), (60_000, 400_000)]),
}


@pytest.mark.parametrize("commit_ms", [0, 300])
@pytest.mark.parametrize("name", list(LINES))
def test_everything_arrives_once(name: str, commit_ms: int) -> None:
    line = LINES[name]
    records = 300
    for seed in (1, 2):
        ordered = not line.reorder
        result = transfer(seed, line, records, ordered=ordered, commit_ms=commit_ms)
        assert result.transmissions < 2.6, f"seed {seed}: {result}"


@pytest.mark.parametrize("outage_ms", [1000, MINUTE_MS, HOUR_MS, 24 * HOUR_MS])
def test_an_outage_ends_within_the_longest_pause(outage_ms: int) -> None:
    """One record a minute all the while; the link itself never tells that it is dead."""
    begin_ms = 10_000
    line = replace(BASE, outages=[(begin_ms, begin_ms + outage_ms)])
    sim = Simulation(7, line)
    for at_ms in range(0, begin_ms + outage_ms, MINUTE_MS):
        sim.at(at_ms * 1000, lambda: sim.add(1))
    sim.run(begin_ms + outage_ms)
    longest_ms = max(0, min(outage_ms, 300_000)) + 10_000
    backlog_ms = outage_ms // MINUTE_MS * 25
    assert sim.run(begin_ms + outage_ms + longest_ms + backlog_ms, sim.drained)
    assert sim.board.state == states.READY
    assert sim.up.count.packets < 60 + 1.2 * outage_ms / MINUTE_MS + outage_ms / 250_000


def test_new_records_overtake_a_long_backlog() -> None:
    sim = Simulation(3, Line(loss=0.2))
    sim.add(500)
    sim.run(20_000)
    before = len(sim.journal.records)
    late = []
    for _ in range(5):
        sim.add(1)
        newest = sim.log.next_seq() - 1
        stored_ms = sim.now_ms
        assert sim.run(
            sim.now_ms + 10_000, lambda seq=newest: (sim.log.stream, seq) in sim.journal.records
        )
        late.append(sim.now_ms - stored_ms)
    assert min(late) < 600  # a frame under way, its own 160 ms, 200 ms of line
    assert len(sim.journal.records) < 400 and before


def test_a_host_that_is_slow_to_store_is_not_flooded() -> None:
    """Two seconds until durable: longer than any first guess of the round trip."""
    result = transfer(5, Line(bits_per_s=100_000, delay_ms=20), 400, commit_ms=2000)
    assert result.transmissions < 1.1


class Storm:
    """Every few seconds something breaks: the link, the power of the board, the host."""

    def __init__(self, seed: int) -> None:
        line = replace(
            BASE, loss=0.1, duplicate=0.05, reorder=0.1, bit_errors=1e-4, bits_per_s=200_000
        )
        self.sim = Simulation(seed, line, ordered=False)
        self.lost_power = 0
        self.harms = [self.cut_link, self.cut_power, self.kill_host, self.kill_host_late]

    def harm(self) -> None:
        sim = self.sim
        sim.rng.choice(self.harms)()
        sim.at(sim.now_us + sim.rng.randrange(500_000, 15_000_000), self.harm)

    def cut_link(self) -> None:
        sim = self.sim
        sim.board.link_down(sim.now_ms)
        sim.board.link_up(sim.now_ms, 1024, sim.rng.getrandbits(32), False)

    def cut_power(self) -> None:
        sim = self.sim
        if sim.rng.random() < 0.3:
            sim.log.flush()
        before = sim.log.next_seq()
        sim.log.crash(survivors=sim.rng.randrange(3))
        self.lost_power += sim.log.next_seq() > before
        sim.board = BoardEndpoint("board-1", STREAM, PSK, sim.log)
        sim.board.link_up(sim.now_ms, 1024, sim.rng.getrandbits(32), False)

    def kill_host(self) -> None:
        sim = self.sim
        sim.journal.restart()
        sim.host = MemoryHost(sim.journal)
        sim.host.endpoint.call(sim.now_ms)

    def kill_host_late(self) -> None:
        self.sim.journal.commit(self.sim.host.waiting)
        self.kill_host()

    def rain(self) -> None:
        sim = self.sim
        sim.add(1)
        if sim.rng.random() < 0.2:
            sim.log.flush()
        sim.at(sim.now_us + sim.rng.randrange(10_000, 90_000), self.rain)


def test_a_storm_loses_nothing_unsaid() -> None:
    """A fifth of MEUSE_RECORDS, through everything at once."""
    for seed in range(1, 3):
        storm = Storm(seed)
        sim = storm.sim
        sim.at(0, storm.rain)
        sim.at(0, storm.harm)
        sim.run(10_000_000_000, lambda log=sim.log: len(log.created) > RECORDS // 10)
        storm.harms = [storm.cut_link]
        sim.run(sim.now_ms + 60_000)
        state = sim.journal.stream(STREAM)
        assert state is not None
        missing = [
            seq
            for seq in range(1, sim.log.oldest())
            if (STREAM, seq) not in sim.journal.records and not state.gapped.contains(seq)
        ]
        assert missing == [], f"seed {seed}"
        assert sim.log.oldest() > sim.log.next_seq() - 200, f"seed {seed}: it does not keep up"
        for (_, seq), made in sim.journal.records.items():
            assert sim.log.created[seq] == made, f"seed {seed}"
        assert storm.lost_power > 1, f"seed {seed}: a calm storm"
