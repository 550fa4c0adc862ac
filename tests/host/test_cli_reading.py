"""`meuse query`, `export`, `tail`, `frames` and `measure` as people run them, read back by other programs."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import openpyxl
import pytest
from meuse.cli import main
from meuse.lake import process
from meuse.lake.policy import Policy
from meuse_protocol import framing, messages
from meuse_protocol.schema import Schema

from tests.host.journals import NOON_MS, STREAM, Journal, schema_record, single_record
from tests.host.rivers import River, Truth, sort_key

COLUMNS = [
    "device", "channel", "unit", "measured_at", "time_quality", "value", "text", "quality", "received_at",
    "stream", "seq", "row", "boot", "uptime_ms", "tenant", "site", "schema_id",
]  # fmt: skip


def meuse(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "meuse", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def done(*arguments: object, stdin: bytes = b"") -> str:
    """Standard output of a run that ended well."""
    result = meuse(*arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


@pytest.fixture(scope="module")
def river(tmp_path_factory: pytest.TempPathFactory):
    """Half in the lake, half in the tail, some of it waiting; one gap."""
    made = River(tmp_path_factory.mktemp("river"), seed=21)
    made.flow(60)
    process.run(made.journal.data, Policy(), lambda: made.now_ms, everything=True)
    made.flow(60)
    made.journal.gap(50_000, 50_004, messages.GAP_LOG_FULL)
    yield made
    made.journal.close()


def iso(ms: int | None) -> str | None:
    if ms is None:
        return None
    return f"{datetime.fromtimestamp(ms // 1000, tz=UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def as_said(truth: Truth) -> dict[str, object]:
    """A row as JSON lines must say it."""
    said = truth._asdict() | {"tenant": "default", "site": "default"}
    said["measured_at"] = iso(said.pop("measured_ms"))
    said["received_at"] = iso(said.pop("received_ms"))
    return {name: said[name] for name in COLUMNS}


def test_json_lines_say_every_row_exactly(river: River) -> None:
    lines = done("query", "--format", "jsonl", "--data", river.journal.data).splitlines()
    assert [json.loads(line) for line in lines] == [as_said(row) for row in sorted(river.truth, key=sort_key)]
    assert list(json.loads(lines[0])) == COLUMNS


def test_csv_reads_back_as_the_same_doubles(river: River) -> None:
    text = done("query", "--data", river.journal.data)  # csv, since it is piped
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == COLUMNS
    truth = sorted(river.truth, key=sort_key)
    assert [row["value"] and float(row["value"]) for row in rows] == [
        "" if row.value is None else row.value for row in truth
    ]
    assert [row["measured_at"] or None for row in rows] == [iso(row.measured_ms) for row in truth]
    assert [row["text"] or None for row in rows] == [row.text for row in truth]


def test_a_table_is_for_people(river: River) -> None:
    lines = done("query", "--data", river.journal.data, "--format", "table", "-d", "stove-1").splitlines()
    assert lines[0].split() == ["device", "channel", "measured_at", "value", "unit", "quality", "time_quality"]
    assert len(lines) == 1 + sum(row.device == "stove-1" for row in river.truth)


def test_device_channel_and_range_select(river: River) -> None:
    start, end = NOON_MS + 600_000, NOON_MS + 2_400_000
    result = meuse(
        "query", "--data", river.journal.data, "--format", "jsonl", "-d", "weather-1", "-c", "temp", "-c", "rh",
        "--from", iso(start), "--to", iso(end),
    )  # fmt: skip
    wanted = [
        as_said(row)
        for row in sorted(river.truth, key=sort_key)
        if row.device == "weather-1" and row.channel in ("temp", "rh")
        if row.measured_ms is not None and start <= row.measured_ms < end
    ]
    assert wanted
    assert [json.loads(line) for line in result.stdout.splitlines()] == wanted
    hidden = sum(
        row.measured_ms is None and row.device == "weather-1" and row.channel in ("temp", "rh") for row in river.truth
    )
    assert (f"{hidden} rows without a measured time" in result.stderr.decode()) == bool(hidden)


def test_steps_and_statistics(river: River) -> None:
    text = done("query", "--data", river.journal.data, "--step", "1h", "--stat", "max,count", "-c", "temp")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["device", "channel", "unit", "measured_at", "max", "count", "missing"]
    counted = [row for row in river.truth if row.channel == "temp" and row.measured_ms and row.value is not None]
    assert sum(int(row["count"]) for row in rows) == sum(row.time_quality != "absurd" for row in counted)


def test_gaps_are_told_and_shown(river: River) -> None:
    result = meuse("query", "--data", river.journal.data, "--format", "jsonl")
    assert "1 gap: 5 records are lost" in result.stderr.decode()
    lines = done("query", "--data", river.journal.data, "--gaps", "--format", "jsonl").splitlines()
    (gap,) = [json.loads(line) for line in lines]
    assert gap["device"] == "stove-1"
    assert (gap["first_seq"], gap["last_seq"], gap["records"]) == (50_000, 50_004, 5)
    assert gap["reason"] == "log_full"


def test_own_sql(river: River) -> None:
    text = done(
        "query",
        "--data",
        river.journal.data,
        "--sql",
        "SELECT device, count(*) AS n FROM readings GROUP BY 1 ORDER BY 1",
    )
    counts = {row["device"]: int(row["n"]) for row in csv.DictReader(io.StringIO(text))}
    assert sum(counts.values()) == len(river.truth)
    assert "measured_at" in done("query", "--data", river.journal.data, "--sql", "DESCRIBE readings;")
    moment = done("query", "--data", river.journal.data, "--sql", "SELECT max(received_at) AS newest FROM readings")
    assert moment.splitlines()[1] == iso(river.now_ms) or moment.splitlines()[1] < (iso(river.now_ms) or "")


ODD = "SELECT 'NaN'::DOUBLE AS nan, '-Infinity'::DOUBLE AS inf, [1, 2] AS list, INTERVAL 1 DAY AS span, [now()] AS t"
ODD += ", TIMESTAMPTZ '2025-11-23 12:00:00+00' AS at, 1.5::DECIMAL(5, 2) AS exact, {'x': 'NaN'::DOUBLE} AS struct"


@pytest.mark.parametrize(
    "end", ["", ";", "-- that was it", "; -- that was it", ", '; --' AS semicolon", "\n/* really */ ;\n"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.xlsx"])
def test_own_sql_of_any_kind(river: River, tmp_path: Path, name: str, end: str) -> None:
    path = tmp_path / name
    assert done("export", path, "--data", river.journal.data, "--sql", ODD + end) == f"1 rows in {path}\n"
    if name == "a.jsonl":

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        row = json.loads(path.read_text(), parse_constant=refuse)
        assert (row["nan"], row["inf"], row["struct"], row["list"]) == (None, None, {"x": None}, [1, 2])
        assert row["at"] == "2025-11-23T12:00:00.000Z"
    elif name == "a.xlsx":
        book = openpyxl.load_workbook(path, read_only=True)
        (_, row) = book["readings"].iter_rows(values_only=True)
        book.close()
        assert row[:4] == (None, None, "[1, 2]", "1 day, 0:00:00") and float(row[6]) == 1.5


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.xlsx"])
def test_export_is_read_by_other_programs(river: River, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    said = done("export", path, "--data", river.journal.data)
    truth = sorted(river.truth, key=sort_key)
    assert said == f"{len(truth)} rows in {path}\n"
    assert [left.name for left in tmp_path.iterdir()] == [name]
    assert _read(path) == [(row.device, row.channel, row.measured_ms, row.value, row.text) for row in truth]


def _read(path: Path) -> list[tuple[object, ...]]:
    """(device, channel, measured_ms, value, text) per row, by a program that is not ours."""
    if path.suffix != ".xlsx":
        source = {".csv": f"read_csv('{path}', nullstr='', types={{'text': 'VARCHAR'}})"}.get(path.suffix, f"'{path}'")
        if path.suffix == ".jsonl":
            source = f"read_json('{path}')"
        return (
            duckdb.connect()
            .execute(f"SELECT device, channel, epoch_ms(measured_at::TIMESTAMPTZ), value, text FROM {source}")
            .fetchall()
        )
    book = openpyxl.load_workbook(path, read_only=True)
    rows = list(book["readings"].iter_rows(values_only=True))
    book.close()
    assert list(rows[0]) == COLUMNS
    found = []
    for row in rows[1:]:
        when = row[3]
        ms = None if when is None else round(when.replace(tzinfo=UTC).timestamp() * 1_000)
        found.append((row[0], row[1], ms, None if row[5] is None else float(row[5]), row[6]))
    return found


def test_a_failed_export_leaves_the_old_file(river: River, tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("old")
    result = meuse("export", path, "--data", river.journal.data, "--sql", "SELECT 1/0 AS a, error('x') AS b")
    assert result.returncode == 2
    assert path.read_text() == "old"
    assert meuse("export", tmp_path / "none" / "a.csv", "--data", river.journal.data).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "status", "advice"),
    [
        (["query", "--device", "stove-2"], 2, "did you mean stove-1?"),
        (["query", "--channel", "tmep"], 2, "did you mean temp?"),
        (["query", "--from", "yesterday"], 2, "write it like -1h"),
        (["query", "--from", "-1h", "--to", "-2h"], 2, "the end itself"),
        (["query", "--step", "3 fortnights"], 2, "write it like 10s"),
        (["query", "--step", "1h", "--gaps"], 2, "use one of them"),
        (["query", "--stat", "mean"], 2, "add for example --step 1h"),
        (["query", "--step", "1h", "--stat", "sum"], 2, "known: count, last"),
        (["query", "--format", "yaml"], 2, "use table, csv, jsonl"),
        (["query", "--sql", "SELECT nothing FROM readings"], 2, "DESCRIBE readings"),
        (["query", "--sql", "SELECT 1; SELECT 1"], 2, "one statement, not 2"),
        (["query", "--sql", ";"], 2, "one statement, not 0"),
        (["query", "--sql", "SELEC 1"], 2, "DESCRIBE readings"),
        (["query", "--sql", "SELECT 1", "-d", "stove-1"], 2, "WHERE"),
        (["export", "a.docx"], 2, "end the name in .csv"),
        (["tail", "--device", "stove-2"], 2, "did you mean stove-1?"),
        (["query", "--nonsense"], 2, ""),
    ],
)
def test_mistakes_are_told_with_what_to_do(
    river: River,
    arguments: list[str],
    status: int,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["meuse", *arguments, "--data", str(river.journal.data)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == status
    assert said.out == ""
    assert advice in said.err


def test_without_a_journal_the_next_step_is_said(tmp_path: Path) -> None:
    for command in ("query", "tail"):
        result = meuse(command, "--data", tmp_path)
        assert result.returncode == 1
        assert "next: start one: meuse run" in result.stderr.decode()


@pytest.mark.parametrize("command", ["query", "export", "tail", "frames", "measure"])
def test_help_has_an_example(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["meuse", command, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"Example: meuse {command}" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_failure(river: River) -> None:
    for command in ("query", "tail -n 1000"):
        line = f"{sys.executable} -m meuse {command} --data {river.journal.data} | head -1; echo ${{PIPESTATUS[0]}}"
        result = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, check=True)
        assert result.stdout.decode().splitlines()[1] == "0", result.stderr.decode()
        assert b"Error" not in result.stderr


def test_tail_follows_until_it_is_stopped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.store(schema_record(1, Schema(1, "air", 1_000, [("temp", "Cel", -1, 0)])))
    journal.store(single_record(2, 1, NOON_MS // 1_000, [201]))
    command = [sys.executable, "-m", "meuse", "tail", "--data", str(tmp_path), "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            first = json.loads(running.stdout.readline())
            began = time.monotonic()
            journal.store(single_record(3, 1, NOON_MS // 1_000 + 1, [202]), NOON_MS + 1_500)
            second = json.loads(running.stdout.readline())
            assert time.monotonic() - began < 60
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
        finally:
            running.kill()  # a test that fails waits for nothing
    assert (first["value"], second["value"]) == (20.1, 20.2)
    assert second == {
        "device": "stove-1", "channel": "temp", "unit": "Cel", "measured_at": "2025-11-23T12:00:01.000Z",
        "time_quality": "synced", "value": 20.2, "text": None, "quality": "good",
        "received_at": "2025-11-23T12:00:01.500Z", "stream": STREAM, "seq": 3, "row": 0, "boot": None,
        "uptime_ms": None, "tenant": "default", "site": "default", "schema_id": 1,
    }  # fmt: skip
    journal.close()


def test_frames_opens_bytes_and_their_hexadecimal(tmp_path: Path) -> None:
    wire = b"boot\r\n\x00" + framing.frame(messages.pdu(messages.PING, 0)) + b"\x05\x91\x01\x00"
    path = tmp_path / "capture"
    path.write_bytes(wire)
    lines = done("frames", path)
    kinds = [json.loads(line)["kind"] for line in lines.splitlines()]
    assert kinds == ["text", "frame", "damage"]
    assert done("frames", "-", stdin=wire.hex(" ").encode()) == lines
    result = meuse("frames", tmp_path / "none")
    assert result.returncode == 2
    assert b"next:" in result.stderr


def test_measure_as_json_and_for_people(root: Path, tmp_path: Path) -> None:
    trace = root / "tests/traces/occupancy.csv"
    counted = json.loads(done("measure", trace, "--json"))
    assert list(counted) == ["payload", "uart", "udp", "mqtt"]
    assert all(len(means) == 3 for means in counted.values())
    assert f"{counted['uart'][2]:.3f}" in done("measure", trace)
    assert meuse("measure", tmp_path / "none.csv").returncode == 2
