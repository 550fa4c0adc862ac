"""Fifty times at random kill -9 of host or board, and the cable unplugged between. Then nothing flushed is missing.

Real firmware on real MicroPython, the real host; simulated are sensors, wires and the flash chip. A kill takes
away the process, not the disk under the host: that a commit outlives a power cut of the host is SQLite's own
promise (WAL, synchronous=FULL). For the board's flash a kill is a power cut.

MEUSE_KILLS sets how many (50; two in five are the host's), MEUSE_SEED which; a failing run prints what was done.
"""

import os
import random
import shutil
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meuse_protocol.received import RangeSet

from tests.end_to_end.river import ROOT, Host, board, in_flash, rows
from tests.firmware.virtual import VirtualBoard, wait_for

KILLS = int(os.environ.get("MEUSE_KILLS", "50"))
SEED = int(os.environ.get("MEUSE_SEED", "20161"))
FLASH_BLOCKS = 256
HOST_KILLS = KILLS * 2 // 5
UNPLUGS = KILLS // 4
BETWEEN_S = (0.1, 1.1)  # long enough for a board to boot and send, short enough to hit it while it does


class Chaos:
    """Kills and unplugs, and keeps what each board's flash held at the moment of its death."""

    def __init__(self, host: Host, boards: list[VirtualBoard], copies: Path) -> None:
        self.chance = random.Random(SEED)
        self.done: list[str] = []
        self.held: list[Path] = []
        self._host = host
        self._boards = boards
        self._copies = copies
        self._unplugged = False

    def run(self) -> None:
        """KILLS processes killed, and cables pulled between, in an order of chance."""
        cuts = [self._cut_power] * (KILLS - HOST_KILLS)
        blows = [*cuts, *[self._kill_host] * HOST_KILLS, *[self._pull] * UNPLUGS]
        self.chance.shuffle(blows)
        for blow in blows:
            self._mend(blow)
            blow()
            self.done.append(blow.__name__)
            # The moment of the next blow is what is random; nothing is waited for.
            time.sleep(self.chance.uniform(*BETWEEN_S))

    def _mend(self, blow: Callable[[], None]) -> None:
        """What is down comes back sooner or later; at the latest when it is to be struck again."""
        if not self._host.process and (blow == self._kill_host or self.chance.random() < 0.5):
            self._host.start()
            time.sleep(self.chance.uniform(*BETWEEN_S))
        if self._unplugged and (blow == self._pull or self.chance.random() < 0.3):
            self._plug()

    def calm(self) -> None:
        """The cable is in again, the host runs, and both stay."""
        if self._unplugged:
            self._plug()
        if not self._host.process:
            self._host.start()

    def _cut_power(self) -> None:
        victim = self.chance.choice(self._boards)
        wait_for(lambda: victim.status()["pid"], "it runs, so that there is something to kill")
        victim.control(do="off")
        copy = self._copies / f"{len(self.held)}.bin"
        shutil.copy(victim.folder / "flash.bin", copy)
        self.held.append(copy)
        victim.control(do="on")

    def _kill_host(self) -> None:
        self._host.kill()

    def _pull(self) -> None:
        self._boards[0].control(do="unplug")
        self._unplugged = True

    def _plug(self) -> None:
        self._boards[0].control(do="replug")
        self._unplugged = False


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, list[VirtualBoard], Chaos]]:
    """The river after all blows: boards stopped and drained, the host stopped."""
    top = tmp_path_factory.mktemp("kill")
    data = top / "data"
    host = Host(data, [str(top / "stove" / "tty")])
    boards = [board(top, name, data, host.port) for name in ("stove", "weather", "building")]
    copies = top / "copies"
    copies.mkdir()
    with host, boards[0], boards[1], boards[2]:
        chaos = Chaos(host, boards, copies)
        try:
            chaos.run()
        finally:
            print(f"seed {SEED}: {' '.join(chaos.done)}")
        chaos.calm()
        for one in boards:
            wait_for(lambda one=one: one.status()["pid"], f"{one.device} runs again")  # type: ignore[misc]
        for one in boards:
            assert one.stop(60) == 0, one.log()
        host.stop()
        yield host, boards, chaos


def stored(data: Path) -> dict[tuple[int, int], str]:
    with sqlite3.connect(data / "journal.sqlite") as db:
        return {(s, n): record.hex() for s, n, record in db.execute("SELECT stream, seq, record FROM records")}


def test_every_flushed_record_is_stored_as_it_was(
    survived: tuple[Host, list[VirtualBoard], Chaos], micropython: str
) -> None:
    host, _, chaos = survived
    records = stored(host.data)
    path = f"{ROOT / 'build/mpy-sim'}:.frozen"
    flushed = 0
    for copy in chaos.held:
        for key, record in in_flash(copy, FLASH_BLOCKS, micropython, path).items():
            assert records.get(key) == record, f"{copy.name}: {key} was flushed"
            flushed += 1
    assert len(chaos.held) + chaos.done.count("_kill_host") == KILLS
    assert len(chaos.held) == KILLS - HOST_KILLS
    print(f"{len(chaos.held)} power cuts, {flushed} flushed records in the copies, {len(records)} stored")
    assert flushed > KILLS // 2


def test_every_number_is_stored_or_in_a_gap_that_says_why(
    survived: tuple[Host, list[VirtualBoard], Chaos],
) -> None:
    host, _, _ = survived
    with sqlite3.connect(host.data / "journal.sqlite") as db:
        streams = db.execute("SELECT stream, received, gapped, next_seq FROM streams").fetchall()
        gaps = db.execute("SELECT stream, first_seq, last_seq, reason FROM gaps").fetchall()
    assert len(streams) == 3, "a board came back as another one"
    assert all(reason for *_, reason in gaps)
    for stream, received, gapped, next_seq in streams:
        have, lost = RangeSet.from_bytes(received), RangeSet.from_bytes(gapped)
        announced = {n for s, first, last, _ in gaps if s == stream for n in range(first, last + 1)}
        for seq in range(1, next_seq):
            assert have.contains(seq) or (lost.contains(seq) and seq in announced), f"stream {stream:x}: {seq}"


def test_every_reading_is_there_once_and_was_really_served(
    survived: tuple[Host, list[VirtualBoard], Chaos],
) -> None:
    host, boards, _ = survived
    table = rows("--data", str(host.data))
    keys = [(r["stream"], r["seq"], r["row"], r["channel"]) for r in table]
    assert len(keys) == len(set(keys))
    by_channel: dict[tuple[str, str], list[float]] = defaultdict(list)
    for r in sorted(table, key=lambda r: (r["stream"], int(r["seq"]), int(r["row"]))):
        if r["value"]:
            by_channel[r["device"], r["channel"]].append(float(r["value"]))
    compared = 0
    for one in boards:
        served: dict[str, list[float]] = defaultdict(list)
        for line in one.served():
            if line["value"] is not None:
                served[line["channel"]].append(line["value"])
        for channel, values in served.items():
            rest = iter(values)
            for value in by_channel[one.device, channel]:
                assert value in rest, f"{one.device} {channel}: {value} was not served, or not in this order"
                compared += 1
    print(f"{compared} values compared with what was served")
    assert compared > KILLS
