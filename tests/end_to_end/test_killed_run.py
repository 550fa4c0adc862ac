"""What is left of `meuse run --sim` when it is killed, or told twice to stop: nothing that is in the way."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.river import MEUSE, ROOT
from tests.firmware.virtual import wait_for

SECONDS = 60


def alive() -> dict[int, int]:
    """{process: its parent} of all that are no zombies."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def children(parent: int) -> list[int]:
    return [process for process, its in alive().items() if its == parent]


@contextmanager
def river(data: Path) -> Iterator[subprocess.Popen[str]]:
    """`meuse run --sim` whose three boards run."""
    words = [str(MEUSE), "run", "--sim", "--data", str(data), "--tcp", "127.0.0.1:0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            wait_for(lambda: len(list(data.glob("boards/*/control"))) == 3, "three boards", SECONDS)
            yield process
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()


def test_after_kill_9_the_next_run_waits_for_the_boards_of_the_last(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with river(data) as process:
        wait_for(lambda: list(data.glob("boards/*/served.jsonl")), "readings", SECONDS)
        process.kill()
        process.wait()
        words = [str(MEUSE), "run", "--sim", "--data", str(data), "--tcp", "127.0.0.1:0", "--for", "30"]
        again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "waiting for the last run's boards to end" in again.stdout


def test_a_second_ctrl_c_ends_the_boards_too(tmp_path: Path) -> None:
    with river(tmp_path / "data") as process:
        worlds = wait_for(lambda: children(process.pid), "children")
        os.kill(worlds[0], signal.SIGSTOP)  # one that will never end by itself
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        while "stopping" not in process.stdout.readline():
            pass
        wait_for(lambda: len(children(process.pid)) < len(worlds), "the others drain", SECONDS)
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
        wait_for(lambda: not alive().keys() & set(worlds), "all have ended", SECONDS)
