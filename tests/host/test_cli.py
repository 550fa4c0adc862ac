"""The commands as a person types them: what they print, what they advise, and their exit statuses."""

import asyncio
import contextlib
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from meuse import config, foreground, settings
from meuse.errors import NotReachable
from meuse.journal.batch import Batch, Binding, Event, Gap, Row
from meuse.journal.database import FILE_NAME
from meuse.journal.writer import Writer
from meuse.keys import KeyStore
from rich.console import Console

MEUSE = str(Path(sys.executable).with_name("meuse"))
COMMANDS = ("run", "sim", "devices", "query", "export", "tail", "import", "doctor", "frames", "measure")


def typed(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MEUSE, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


@contextmanager
def host(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`meuse run` that listens; killed if the test did not end it."""
    process = subprocess.Popen(
        [MEUSE, "run", "--tcp", "127.0.0.1:0", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_line(process, "listening on")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(tmp_path: Path, command: str) -> None:
    done = typed(tmp_path, command, "--help")
    assert done.returncode == 0
    assert f"Example: meuse {command}" in done.stdout


def test_help_lists_every_command_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = typed(tmp_path, "--help")
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
    modules = (
        "import sys, meuse.cli; print([m for m in ('duckdb', 'numpy', 'rich.live', 'asyncio') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", modules], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "Did you mean 'run'"),
        (["run", "--prot", "1"], "No such option"),
        (["run", "--tcp", "here"], "'here' is not HOST:PORT"),
        (["run", "--config", "none.toml"], "cannot read none.toml"),
        (["devices", "--config", "bad.toml"], "did you mean tcp?"),
        (["run", "--config", "nobody.toml"], "did you mean 'serial'?"),
        (["run", "--for", "-3"], "--for"),
        (["query", "--sql", ""], "--sql is empty"),
        (["query", "--from", "-999999999999w"], "--from '-999999999999w' is not a time"),
        (["query", "--from=-1x"], "next: write it like -10s, -5m, -1h or -1d"),
        (["query", "--step", "99999999999999w"], "is not a length of time"),
    ],
)
def test_usage_ends_with_2(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "bad.toml").write_text("[tpc]\n")
    (tmp_path / "nobody.toml").write_text('[trust]\nlinks = ["seral"]\n')
    Writer(tmp_path / "journal.sqlite", 0).close()
    if words[0] == "query":
        words = [*words, "--data", "."]
    done = typed(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_ends_with_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = typed(tmp_path, "run", "--tcp", address)
        checked = typed(tmp_path, "run", "--check", "--tcp", address)
    assert done.returncode == 3
    assert f"cannot listen on {address}: it is in use" in done.stderr
    assert "next: is another host running?" in done.stderr
    assert checked.returncode == 1 and f"FAIL  tcp {address}" in checked.stdout


def test_without_a_journal_readers_say_how_to_get_one(tmp_path: Path) -> None:
    done = typed(tmp_path, "devices")
    assert done.returncode == 1
    assert "there is no journal" in done.stderr and f"next: start one: {MEUSE} run --sim" in done.stderr


@pytest.mark.parametrize("words", [["devices"], ["query"], ["tail"], ["doctor"], ["run", "--tcp", "127.0.0.1:0"]])
def test_a_file_that_is_no_journal_is_named_in_words(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"noise" * 900)
    done = typed(tmp_path, *words, "--data", ".")
    assert done.returncode == 1
    assert "journal.sqlite: file is not a database" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / FILE_NAME).write_bytes(b"")
    if words == ["devices"]:
        assert "journal.sqlite is empty" in typed(tmp_path, *words, "--data", ".").stderr


def test_beside_virtual_boards_any_free_port_will_do_unless_one_was_asked_for(tmp_path: Path) -> None:
    said = io.StringIO()

    async def scene() -> None:
        found = config.load_with(None, tmp_path)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 7878)):
            with pytest.raises(NotReachable):
                await foreground._started(found, Console(file=said), anywhere=False)
            host = await foreground._started(found, Console(file=said), anywhere=True)
            (link,) = host.tcp
            await host.stop(finish_lake=False)
            assert link.address.startswith("127.0.0.1:") and not link.address.endswith(":7878")
            assert f"taking {link.address}" in said.getvalue().replace("\n", "")

    asyncio.run(scene())
    assert config.load_with(None).tcp.listen is settings.DEFAULT_LISTEN
    (tmp_path / "meuse.toml").write_text('[tcp]\nlisten = ["127.0.0.1:7878"]\n')
    assert config.load_with(tmp_path / "meuse.toml").tcp.listen is not settings.DEFAULT_LISTEN


def test_run_for_some_seconds_and_what_to_type_next(tmp_path: Path) -> None:
    done = typed(tmp_path, "run", "--tcp", "127.0.0.1:0", "--for", "0.5")
    assert done.returncode == 0, done.stderr
    assert "0 records stored durably" in done.stdout
    assert "query" in done.stdout and "devices" in done.stdout
    assert (tmp_path / "data" / FILE_NAME).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with host(tmp_path) as process:
        process.send_signal(number)
        assert process.wait(20) == 0


def test_one_host_per_folder(tmp_path: Path) -> None:
    with host(tmp_path):
        second = typed(tmp_path, "run", "--tcp", "127.0.0.1:0")
        assert second.returncode == 1 and "another host runs on data" in second.stderr
        checked = typed(tmp_path, "run", "--check")
        assert checked.returncode == 0 and "runs on this data already" in checked.stdout


def test_check_and_doctor_change_nothing(tmp_path: Path) -> None:
    for words in (["run", "--check"], ["doctor"]):
        assert typed(tmp_path, *words).returncode in (0, 1)
    assert list(tmp_path.iterdir()) == []


def test_check_knows_a_serial_port_from_a_file(tmp_path: Path) -> None:
    board, ours = pty.openpty()
    try:
        good = typed(tmp_path, "run", "--check", "--serial", os.ttyname(ours))
        assert good.returncode == 0 and "may be opened" in good.stdout
        for path in ("/dev/null", "/etc/passwd"):
            wrong = typed(tmp_path, "run", "--check", "--serial", path)
            assert wrong.returncode == 1 and f"FAIL  serial {path}: is no serial port" in wrong.stdout
    finally:
        os.close(board)
        os.close(ours)


def test_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    KeyStore(data / "keys").provision("stove-1").chmod(0o644)
    (data / "keys/weather-1.key").write_text("nonsense")
    (data / "keys/weather-1.key").chmod(0o600)
    writer = Writer(data / FILE_NAME, 1)
    writer.commit(Batch(events=[Event(time.time_ns() // 1_000_000, None, "journal-failed", "disk full")]))
    writer.close()
    done = typed(tmp_path, "doctor")
    assert done.returncode == 1
    for said in (
        "key of stove-1: others may read it",
        "next: chmod 600 data/keys/stove-1.key",
        "weather-1.key is not a key file",
        "journal: sound",
        "journal-failed: 1 times in the last day, last: disk full",
    ):
        assert said in done.stdout
    (data / FILE_NAME).write_bytes(b"this was a journal" * 1000)
    broken = typed(tmp_path, "doctor")
    assert broken.returncode == 1 and "FAIL  journal" in broken.stdout and "Traceback" not in broken.stderr


def test_devices_counts_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    writer = Writer(tmp_path / "data" / FILE_NAME, 1)
    stream = 0x80000001
    rows = [Row(stream, seq, 4, 1, "tcp", b"r") for seq in (3, 4, 5)]
    writer.commit(Batch(rows, [Binding(stream, "stove-1", 1, 9)], [Gap(stream, 1, 2, 1, "board", 1)]))
    writer.commit(Batch(bindings=[Binding(stream + 1, "weather-1", 1, 1), Binding(stream + 2, "weather-1", 2, 1)]))
    writer.close()
    found = [json.loads(line) for line in typed(tmp_path, "devices", "--json").stdout.splitlines()]
    assert [entry["device"] for entry in found] == ["stove-1", "weather-1"]
    assert {key: found[0][key] for key in ("stored", "lost", "awaited", "online")} == {
        "stored": 3,
        "lost": 2,
        "awaited": 3,
        "online": False,
    }
    everything = typed(tmp_path, "devices", "--all").stdout
    assert everything.count("weather-1") == 2 and "closed" in everything
    assert "no host is running on this data" in everything


def test_virtual_boards_without_an_interpreter(tmp_path: Path) -> None:
    done = typed(tmp_path, "run", "--sim", MICROPYTHON="/nowhere/micropython")
    assert done.returncode == 1
    assert "no MicroPython: /nowhere/micropython cannot be run" in done.stderr
    assert "next: run `make setup`, or name an interpreter with MICROPYTHON=path" in done.stderr
    unknown = typed(tmp_path, "sim", "boiler")
    assert unknown.returncode == 2 and "there are: building, stove, weather" in unknown.stderr
