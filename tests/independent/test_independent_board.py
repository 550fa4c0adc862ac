"""A board written from protocol/README.md alone, against the real host: what it measured is what can be asked for."""

import csv
import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.independent import wire
from tests.independent.board import DATA, GAP, HELLO, SINGLE, TIMEQ, Board, Line, Log, record
from tests.ports import free_port

MEUSE = str(Path(sys.executable).with_name("meuse"))
DEVICE, PSK = "paper-board", bytes(range(32))
TICK_MS, SID = 1000, 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXTRA = [["state", "", 0, 2], ["raw", "", 0], ["open", "", 0]]
QUALITY = {None: "missing", -1: "device_missing", -2: "bus_error", -3: "open", -4: "out_of_range", -6: "stale"}


class Host:
    """`meuse run` on a port of its own, which may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        (self.data / "keys").mkdir(parents=True, mode=0o700)
        key = self.data / "keys" / f"{DEVICE}.key"
        key.touch(0o600)
        key.write_text(PSK.hex() + "\n")
        self.port = free_port()
        self._log = folder / "host.log"
        self.lines: list[Line] = []
        self.start()

    def start(self) -> None:
        command = [MEUSE, "run", "--data", str(self.data), "--tcp", f"127.0.0.1:{self.port}"]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.data)

    def line(self, chance: random.Random | None = None, faults: float = 0.0) -> Line:
        """A connection, closed with the host at the latest."""
        self.lines.append(Line(self.port, chance or random.Random(1), faults))
        return self.lines[-1]

    def end(self, number: int) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        self._process.wait(60)

    def ask(self, *words: str) -> str:
        command = [MEUSE, *words, "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, cwd=self.data).stdout

    def state(self) -> list[str]:
        """All that is stored."""
        return [self.ask("query", *which, "--format", "csv") for which in ([], ["--gaps"], ["--sql", "FROM schemas"])]

    def readings(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.ask("query", "--format", "csv"))))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end(signal.SIGKILL)
    for line in host.lines:
        line.close()


class Measured:
    """What a board measured, as `meuse query` has to show it: (seq, row, channel) -> (time, value, text, quality)."""

    def __init__(self, channels: list[list[Any]]) -> None:
        self.channels = channels
        self.rows: dict[tuple[int, int, str], tuple[Any, ...]] = {}

    def note(self, seq: int, ticks: list[int], rows: list[list[Any]], boot_no: int | None) -> None:
        for index, (tick, row) in enumerate(zip(ticks, rows, strict=True)):
            for (name, _, exp10, *_), value in zip(self.channels, row, strict=True):
                self.rows[seq, index, name] = (tick * TICK_MS, boot_no, *shown(value, exp10))


def shown(value: Any, exp10: int) -> tuple[float | None, str, str]:
    if value is None or isinstance(value, list):
        return None, "", QUALITY[value[0] if value else None]
    if isinstance(value, str | bytes):
        return None, value if isinstance(value, str) else value.hex(), "good"
    return float(Decimal(value).scaleb(exp10) if type(value) is int else value), "", "good"


def trace(root: Path, count: int, chance: random.Random) -> tuple[list[list[Any]], list[int], list[list[Any]]]:
    """(channels, seconds, rows): the stove's day with three channels more, and sensors that fail now and then."""
    lines = (root / "tests" / "traces" / "stove.csv").read_text().splitlines()[: count + 1]
    channels = []
    for column in lines[0].split(",")[1:]:
        name, unit, decimals = column.replace("[", ";").rstrip("]").split(";")
        channels.append([name, unit, -int(decimals)])
    seconds, rows = [], []
    for line in lines[1:]:
        moment, *values = line.split(",")
        seconds.append(int(moment))
        row: list[Any] = [int(Decimal(v).scaleb(-c[2])) for v, c in zip(values, channels, strict=True)]
        rows.append([chance.choice([None, [-1], [-3], [-4]]) if chance.random() < 0.03 else v for v in row])
        rows[-1] += [chance.choice(["idle", "idle", "été", b"\0\xff"]), chance.uniform(-9, 9), chance.random() < 0.1]
    return channels + EXTRA, seconds, rows


def measure(board: Board, told: Measured, ticks: list[int], rows: list[list[Any]], boot_no: int | None = None) -> None:
    """Writes the rows as batches of one to twelve."""
    at = 0
    while at < len(rows):
        size = 1 + (7 * at + len(rows)) % 12
        some, when = rows[at : at + size], ticks[at : at + size]
        if len(some) == 1:
            seq = board.log.append(SINGLE, *wire.single_body(SID, when[0], some[0], boot_no))
        else:
            seq = board.log.append(DATA, *wire.data_body(SID, when, some, boot_no))
        told.note(seq, when, some, boot_no)
        at += size


def until(board: Board, settled: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not settled():
        assert time.monotonic() < end, (board.state, len(board.log.records), board.log.cum, board.counters)
        board.step()


def struggle(board: Board, host: Host, patience: float) -> None:
    """Some seconds on a line with faults, whose bad luck has no bound; then, if need be, on one without."""
    end = time.monotonic() + patience
    while time.monotonic() < end and not board.done():
        board.step()
    if not (board.done() and board.anchors):
        board.relink(host.line)
    until(board, lambda: board.done() and bool(board.anchors), 60)


def new_board(host: Host, told: Measured, seed: int) -> Board:
    """At its first boot, with an empty log, on a line without faults."""
    log = Log(0x8000_0000 | seed)
    log.restart("paper 1")
    board = Board(DEVICE, PSK, log, host.line)
    board.define(SID, "stove", TICK_MS, told.channels)
    return board


def compare(host: Host, told: Measured, stream: int, offsets: Sequence[int] = ()) -> None:
    """Value for value and time for time; `offsets` are what the ANCHORs say about rows measured without a clock."""
    stored = [row for row in host.readings() if int(row["stream"]) == stream]
    found = {(int(row["seq"]), int(row["row"]), row["channel"]): row for row in stored}
    assert len(found) == len(stored)
    assert found.keys() == told.rows.keys()
    for place, (moment, boot_no, *measured) in told.rows.items():
        row = found[place]
        assert [float(row["value"]) if row["value"] else None, row["text"], row["quality"]] == measured, place
        utc = (datetime.fromisoformat(row["measured_at"]) - EPOCH) // timedelta(milliseconds=1)
        if boot_no is None:
            assert (utc, row["time_quality"], row["boot"]) == (moment, "synced", ""), place
        else:
            assert utc - moment in offsets, place
            dated = row["time_quality"], int(row["boot"]), int(row["uptime_ms"])
            assert dated == ("repaired", boot_no, moment), place


def test_every_reading_is_stored_through_faults_a_killed_host_and_a_power_cut(host: Host, root: Path) -> None:
    chance, faults = random.Random(7), random.Random(3)
    channels, seconds, rows = trace(root, 1200, chance)
    told = Measured(channels)
    board = new_board(host, told, 1)
    log = board.log
    measure(board, told, seconds[:400], rows[:400])
    until(board, board.done, 60)

    def connect() -> Line:
        return host.line(faults, 0.5)

    board.relink(connect)
    measure(board, told, seconds[400:800], rows[400:800])
    half = len(log.records) // 2
    until(board, lambda: len(log.records) < half, 60)
    host.end(signal.SIGKILL)
    host.start()
    struggle(board, host, 4)

    board.relink(connect)
    used = log.next
    log.restart("paper 2", clean=False)
    board = Board(DEVICE, PSK, log, connect, uptime_ms=5_000_000)
    board.define(SID, "stove", TICK_MS, channels, known=True)
    measure(board, told, [second - seconds[800] for second in seconds[800:]], rows[800:], boot_no=log.boot_no)
    struggle(board, host, 4)
    host.end(signal.SIGTERM)

    compare(host, told, log.stream, board.anchors)
    gaps = list(csv.DictReader(io.StringIO(host.ask("query", "--gaps", "--format", "csv"))))
    assert [(int(gap["first_seq"]), gap["reason"], gap["source"]) for gap in gaps] == [(used, "power_cut", "board")]


class Intruder:
    """Somebody else on the host's port, who can copy and invent packets; for `settle` it borrows the board's key."""

    def __init__(self, host: Host, stream: int) -> None:
        self._host, self._stream = host, stream
        self._keys = wire.Keys(PSK, stream)

    def send(self, packets: list[bytes]) -> None:
        """On a line of its own; returns when the host has read them all."""
        line, token = self._host.line(), random.getrandbits(32)
        for packet in packets:
            line.send(wire.frame(packet))
        question = record(TIMEQ, token)
        line.send(wire.frame(wire.with_stream(question, self._stream) + self._keys.mac_up(question)))
        end = time.monotonic() + 5
        while not any(wire.pack(token) in wire.unframe(piece) for piece in line.receive(0.05)):
            assert time.monotonic() < end, "the host no longer answers this line"
        line.close()

    def flood(self, packets: list[bytes]) -> None:
        """On a line of its own; the host may stop listening to it."""
        line = self._host.line()
        for packet in packets:
            line.send(wire.frame(packet))
        line.close()


def forged(stream: int, seq: int) -> list[list[bytes]]:
    """Packets without the key, a handful per line, so that none of them is only lost to the host's flood guard."""
    other, strange = wire.Keys(bytes(32), stream), 0x8000_0999
    row = record(SINGLE, seq, *wire.single_body(SID, 1_761_955_200, [1] * 11))
    hole = record(GAP, seq + 1, 1, seq, 7)

    def hello(name: str, nxt: int) -> bytes:
        return record(HELLO, 16, 0, 1, nxt, 1024, 32, name, [], 1)

    return [
        [wire.with_stream(r, stream) + other.mac_up(r) for r in (row, hole, hello(DEVICE, seq))],
        [wire.with_stream(r, stream) for r in (row, hole, hello(DEVICE, seq))],
        [wire.with_stream(r, stream) + bytes(8) for r in (row, hole)],
        [wire.with_stream(r, strange) + wire.Keys(bytes(32), strange).mac_up(r) for r in (hello(DEVICE, 9), row)],
        [wire.with_stream(r, strange) for r in (hello("nobody", 9), row, hello(DEVICE, 9), row, hole)],
        [wire.with_stream(row, 0) + other.mac_up(row), wire.with_stream(row, 3), b"\x91\x01\x00", b"\xc1" * 40],
        [record(SINGLE, seq) + bytes(8), wire.pack([[[[[[1]]]]]] * 3), bytes(range(200))],
    ]


def test_forged_and_replayed_frames_change_nothing_stored(host: Host, root: Path) -> None:
    channels, seconds, rows = trace(root, 160, random.Random(11))
    told = Measured(channels)
    old = new_board(host, told, 1)
    measure(old, Measured(channels), seconds[:40], rows[:40])
    until(old, old.done, 60)
    old.link_down()
    board = new_board(host, told, 2)
    measure(board, told, seconds[40:120], rows[40:120])
    until(board, board.done, 60)
    before = host.state()

    intruder = Intruder(host, board.log.stream)
    # Each order on a line of its own: stream 0 of two boards on one line is a forgery, and a handful of those a flood.
    for packets in (old.packets, board.packets, old.packets[::-1], board.packets[::-1]):
        intruder.send(packets)
    intruder.flood(old.packets + board.packets + old.packets[::-1] + board.packets[::-1])
    for packets in forged(board.log.stream, board.log.next):
        intruder.send(packets)
    broken = record(SINGLE, 3, *wire.single_body(SID, 1_761_955_200, [7] * 11))
    intruder.send([wire.with_stream(broken, board.log.stream) + board.keys.mac_up(broken)])
    intruder.flood([packet[:-1] + bytes([packet[-1] ^ 1]) for packet in board.packets] * 3)
    assert host.state() == before

    measure(board, told, seconds[120:], rows[120:])
    until(board, board.done, 60)
    host.end(signal.SIGTERM)
    compare(host, told, board.log.stream)


def test_what_the_board_writes_is_what_the_vectors_hold(root: Path) -> None:
    vectors = root / "tests" / "vectors"
    for case in read(vectors / "msgpack.jsonl"):
        thing = plain(case["object"])
        assert repr(wire.Reader(bytes.fromhex(case["hex"])).object(9)) == repr(thing)
        if case["shortest"] and not isinstance(thing, dict):
            assert wire.pack(thing).hex() == case["hex"]
    for case in read(vectors / "cobs.jsonl"):
        assert wire.cobs_encode(bytes.fromhex(case["data"])).hex() == case["encoded"]
        assert wire.cobs_decode(bytes.fromhex(case["encoded"])).hex() == case["data"]
    for case in [*read(vectors / "pdus.jsonl"), *read(vectors / "pdus_large.jsonl")]:
        pdu = wire.pack(plain(case["object"]))
        inner = wire.split_stream(pdu)[0]
        down = case["object"][0] >= 32
        keys = wire.Keys(bytes.fromhex(case["key"] or ""), case["stream"], (len(case["e2e"]) - len(case["pdu"])) // 2)
        e2e = pdu + ((keys.mac_down if down else keys.mac_up)(inner) if case["key"] else b"")
        assert (pdu.hex(), e2e.hex(), wire.frame(e2e).hex()) == (case["pdu"], case["e2e"], case["wire"]), case["name"]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def plain(thing: Any) -> Any:
    """The object a vector's JSON stands for."""
    if isinstance(thing, dict) and "map" in thing:
        return {key: plain(value) for key, value in thing["map"].items()}
    if isinstance(thing, dict):
        return bytes.fromhex(thing["bin"]) if "bin" in thing else struct.unpack(">d", bytes.fromhex(thing["float"]))[0]
    return [plain(item) for item in thing] if isinstance(thing, list) else thing
