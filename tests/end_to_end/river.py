"""A whole river as a test drives it: the host as a process, virtual boards as processes, one folder for all.

Waiting is polling with a deadline. Every process is ended by its own id.
"""

import csv
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.firmware.virtual import ROOT, VirtualBoard, wait_for
from tests.ports import free_port

MEUSE = Path(sys.executable).with_name("meuse")


def meuse(*words: str, seconds: float = 60.0, status: int = 0) -> str:
    """What a `meuse` command prints; its exit status must be `status`."""
    done = subprocess.run([str(MEUSE), *words], capture_output=True, text=True, timeout=seconds, cwd=ROOT)
    assert done.returncode == status, f"meuse {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rows(*words: str) -> list[dict[str, str]]:
    """`meuse query` as CSV, one dict per row."""
    return list(csv.DictReader(io.StringIO(meuse("query", *words, "--format", "csv"))))


class Host:
    """`meuse run` on `data`, with `words` of one's own; may be killed and started again."""

    def __init__(
        self, data: Path, serial: Sequence[str] = (), config: Path | None = None, words: Sequence[str] = ()
    ) -> None:
        self.data = data
        self.port = free_port()
        self._config = config
        self._serial = serial
        self.extra: list[str] = []  # more of the command line
        self._words = words
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Host":
        self.data.mkdir(parents=True, exist_ok=True)
        words = ["run", "--data", str(self.data), "--tcp", f"127.0.0.1:{self.port}"]
        if self._config:
            words += ["--config", str(self._config)]
        words += self._words
        for port in self._serial:
            words += ["--serial", port]
        words += self.extra
        with (self.data / "host.log").open("ab") as log:
            self.process = subprocess.Popen([str(MEUSE), *words], stdout=log, stderr=log, cwd=ROOT)
        wait_for(self._listens, "the host listens")
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.data / "host.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """SIGTERM; it must end by itself with status 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, (self.data / "host.log").read_text()
        self.process = None

    def __enter__(self) -> "Host":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def provision(data: Path, device: str) -> Path:
    """The device's key file, made as the host's own command makes it."""
    from meuse.keys import FOLDER, KeyStore

    return KeyStore(data / FOLDER).provision(device)


def hasty(top: Path, name: str) -> Path:
    """A scenario whose product closes its batches and writes to flash every half second, so that much is in flash."""
    scenario = (ROOT / "firmware/sim/scenarios" / f"{name}.toml").read_text()
    product = (ROOT / "firmware/products" / f"{name}.toml").read_text()
    product = re.sub(r"(?m)^max_age = .*$", 'max_age = "500ms"', product)
    product = re.sub(r"(?m)^flush_age = .*$", "", product)
    if "[log]" not in product:
        product = product.replace("[batch]", "[log]\n[batch]", 1)
    product = product.replace("[log]", '[log]\nflush_age = "500ms"', 1)
    top.mkdir(parents=True, exist_ok=True)
    (top / f"{name}.product.toml").write_text(product)
    scenario = re.sub(r"(?m)^product = .*$", f'product = "{top / name}.product.toml"', scenario)
    trace = re.search(r'(?m)^trace = "(.*)"$', scenario)
    assert trace
    traced = (ROOT / "firmware/sim/scenarios" / trace[1]).resolve()
    scenario = scenario.replace(trace[0], f'trace = "{traced}"')
    (top / f"{name}.toml").write_text(scenario)
    return top / f"{name}.toml"


def board(top: Path, name: str, data: Path, port: int, *words: str) -> VirtualBoard:
    """The board of firmware/sim/scenarios/NAME.toml as device NAME-1, hasty, provisioned on the host of `data`."""
    device = f"{name}-1"
    return VirtualBoard(
        top / name,
        device,
        "--scenario",
        str(hasty(top / "hasty", name)),
        "--key",
        str(provision(data, device)),
        "--host",
        f"127.0.0.1:{port}",
        *words,
    )


def in_flash(flash: Path, blocks: int, micropython: str, path: str) -> dict[tuple[int, int], str]:
    """{(stream, seq): record in hex} of all records that a copy of a board's flash holds."""
    done = subprocess.run(
        [micropython, str(ROOT / "tests/end_to_end/list_flash.py"), str(flash), str(blocks), "/flash/log"],
        capture_output=True,
        text=True,
        env={**os.environ, "MICROPYPATH": path},
        check=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        stream, seq, record = line.split()
        found[int(stream), int(seq)] = record
    return found
