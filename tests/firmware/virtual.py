"""A virtual board as a test sees it: a process, a folder, a control socket. Waiting is polling with a deadline."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "firmware/sim"))

from world import control  # noqa: E402

T = TypeVar("T")


def wait_for(what: Callable[[], T], why: str, seconds: float = 60.0) -> T:
    """Polls until `what()` is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"{why}: not within {seconds} s"
        time.sleep(0.02)
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines only: another process is writing."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


class VirtualBoard:
    """firmware/sim/virtual_board.py as a subprocess; `words` are its arguments beside --dir and --device."""

    def __init__(self, folder: Path, device: str, *words: str) -> None:
        self.folder = folder
        self.device = device
        self._words = words
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "VirtualBoard":
        script = ROOT / "firmware/sim/virtual_board.py"
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--dir", str(self.folder), "--device", self.device, *self._words]
        with (self.folder / "world.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, str(script), *options], stdout=log, stderr=log)
        wait_for(self._up, f"virtual board {self.device}")
        return self

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "world.log").read_text()
        try:
            return bool(self.status()["starts"])
        except OSError:
            return False  # not there yet, or left behind by one that was killed

    def control(self, **command: object) -> dict[str, Any]:
        answer = control.send(self.folder, **command)
        assert answer.pop("ok"), answer
        return answer

    def status(self) -> dict[str, Any]:
        return self.control(do="status")

    def fault(self, name: str, on: bool) -> None:
        self.control(do="fault", name=name, on=on)

    def served(self) -> list[dict[str, Any]]:
        return json_lines(self.folder / "served.jsonl")

    def log(self) -> str:
        path = self.folder / "board.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, as whoever ends a run does it; the exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(seconds)
        self.process = None
        return status

    def kill(self) -> None:
        """SIGKILL of world and board: the plug is pulled out of everything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def __enter__(self) -> "VirtualBoard":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
