"""The newcomer's first command, as typed: `make run FOR=…`, then the readings, value for value."""

import json
import os
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.end_to_end.river import MEUSE, ROOT, meuse, rows
from tests.firmware.virtual import json_lines

BOARDS = {"stove": "stove-1", "weather": "weather-1", "building": "building-1"}
LENGTH_S = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that `make run FOR=12` leaves behind."""
    folder = tmp_path_factory.mktemp("run") / "data"
    done = subprocess.run(
        ["make", "run", f"FOR={LENGTH_S}", f"DATA={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(folder) in done.stdout and "meuse query" in done.stdout, done.stdout
    return folder


def served(data: Path, board: str) -> dict[str, list[float | None]]:
    """Channel -> what the simulated sensors really told the board, in order; None where they failed."""
    out: dict[str, list[float | None]] = defaultdict(list)
    for line in json_lines(data / "boards" / board / "served.jsonl"):
        out[line["channel"]].append(line["value"])
    return out


@pytest.mark.parametrize("board", BOARDS)
def test_query_equals_what_was_served_value_for_value(data: Path, board: str) -> None:
    table = [r for r in rows("--data", str(data), "--device", BOARDS[board])]
    told: dict[str, list[float | None]] = defaultdict(list)
    for r in sorted(table, key=lambda r: (int(r["seq"]), int(r["row"]))):
        told[r["channel"]].append(float(r["value"]) if r["value"] else None)
    expected = served(data, board)
    assert expected
    for channel, values in expected.items():
        assert len(values) >= 3, channel
        assert told[channel] == values, channel


def test_devices_lists_the_three_boards(data: Path) -> None:
    said = meuse("devices", "--data", str(data))
    assert all(device in said for device in BOARDS.values()), said


def test_nothing_was_lost_and_nothing_is_undated(data: Path) -> None:
    table = rows("--data", str(data))
    assert table
    assert {r["time_quality"] for r in table} <= {"synced", "repaired"}
    gaps = meuse("query", "--data", str(data), "--gaps", "--format", "jsonl")
    assert [json.loads(line) for line in gaps.splitlines()] == []


def test_the_commands_of_the_readme_work_as_typed(data: Path) -> None:
    typed = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(".venv/bin/meuse ")]
    assert len(typed) >= 3
    for line in typed:
        done = subprocess.run(
            [str(MEUSE), *shlex.split(line)[1:]],
            cwd=data.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, line + done.stderr
        assert len(done.stdout.splitlines()) >= 2, line
