"""`make bench`: readings per second from frames to durable acknowledgement, beside other ways, in one run.

    .venv/bin/python tests/bench/run.py --quick

Figures of one run belong together; compare ratios, not machines. The host is the real `meuse run` in a
process of its own; the light boards (load.py) are a second one; baselines.py holds what it is compared with.
"""

import argparse
import contextlib
import json
import os
import pty
import secrets
import subprocess
import sys
import tempfile
import tty
from collections.abc import Iterator
from pathlib import Path

from baselines import free_port, listening, raw_sqlite, usual_script
from load import records, rows_of

HERE = Path(__file__).resolve().parent
TRACE = HERE.parent / "traces" / "stove.csv"

# (name, serial, devices, rows per frame, frames per device)
RUNS = [
    ("serial, frames of 60", True, 1, 60, 3000),
    ("serial, frames of 1", True, 1, 1, 8000),
    ("1 TCP board, frames of 60", False, 1, 60, 6000),
    ("1 TCP board, frames of 1", False, 1, 1, 15000),
    ("100 TCP boards, frames of 60", False, 100, 60, 100),
    ("100 TCP boards, frames of 1", False, 100, 1, 250),
]


@contextlib.contextmanager
def host(folder: Path, port: int, serial: str | None) -> Iterator[None]:
    """The real host on a fresh data folder, ended by SIGTERM when the block ends."""
    meuse = Path(sys.executable).with_name("meuse")
    command = [str(meuse), "run", "--data", str(folder), "--tcp", f"127.0.0.1:{port}"]
    command += ["--serial", serial] if serial else []
    with (folder / "host.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            if not listening(port, process):
                raise SystemExit((folder / "host.log").read_text())
            yield
        finally:
            process.terminate()
            process.wait(30)


def meuse(folder: Path, serial: bool, devices: int, rows: int, frames: int) -> dict[str, float]:
    """One run against a fresh host; what load.py reports."""
    keys = folder / "keys"
    keys.mkdir(parents=True)
    keys.chmod(0o700)
    known = []
    for n in range(devices):
        device, key = f"bench-{n}", secrets.token_hex(32)
        path = keys / f"{device}.key"
        path.write_text(key + "\n")
        path.chmod(0o600)
        known.append({"device": device, "key": key})
    port = free_port()
    address, slave, fds = f"127.0.0.1:{port}", None, []
    if serial:
        fds = list(pty.openpty())
        for fd in fds:
            tty.setraw(fd)
        address, slave = f"fd:{fds[0]}", os.ttyname(fds[1])
    plan = folder / "plan.json"
    plan.write_text(
        json.dumps({"address": address, "devices": known, "frames": frames, "rows": rows, "trace": str(TRACE)})
    )
    try:
        with host(folder, port, slave):
            done = subprocess.run(
                [sys.executable, str(HERE / "load.py"), str(plan)],
                pass_fds=fds[:1],
                stdout=subprocess.PIPE,
                check=True,
            )
    finally:
        for fd in fds:
            os.close(fd)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(quick: bool, seconds: float) -> dict[str, dict[str, float]]:
    """{what: {"readings_per_s", "ack_ms_median", "ack_ms_99"}}, baselines without latencies."""
    out: dict[str, dict[str, float]] = {}
    heads, times, rows = rows_of(TRACE)
    names = [head.split("[")[0] for head in heads]
    readings = [
        {"time": float(t), **dict(zip(names, map(float, row), strict=True))}
        for t, row in zip(times[:1000], rows[:1000], strict=True)
    ]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as top:

        def folder(name: str) -> Path:
            path = Path(top) / name
            path.mkdir()
            return path

        def say(what: str, result: dict[str, float]) -> None:
            out[what] = result
            print(f"  {what:<32} {result['readings_per_s']:>12,.0f} readings/s", file=sys.stderr)

        say("usual script", {"readings_per_s": usual_script(folder("script"), readings, seconds)})
        for per_frame in (1, 60):
            made = records(TRACE, 200, per_frame)[1:]
            rate = raw_sqlite(folder(f"raw{per_frame}"), made, per_frame, seconds)
            say(f"raw SQLite, rows of {per_frame}", {"readings_per_s": rate})
        for n, (what, serial, devices, per_frame, frames) in enumerate(RUNS):
            frames = max(frames // (10 if quick else 1), 20)
            result = meuse(folder(str(n)), serial, devices, per_frame, frames)
            say(
                what,
                {
                    "readings_per_s": result["readings"] / result["seconds"],
                    "ack_ms_median": result["ack_ms_median"],
                    "ack_ms_99": result["ack_ms_99"],
                },
            )
    return out


def table(results: dict[str, dict[str, float]]) -> str:
    """The results as a Markdown table of ratios."""
    script = results["usual script"]["readings_per_s"]
    lines = [
        "| way | readings/s | x usual script | x raw SQLite, same frames | ACK median | 99 % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for what, result in results.items():
        rate = result["readings_per_s"]
        raw = results[f"raw SQLite, rows of {60 if '60' in what else 1}"]["readings_per_s"]
        times = "".join(f" {result[key]:.1f} ms |" if key in result else " |" for key in ("ack_ms_median", "ack_ms_99"))
        lines.append(f"| {what} | {rate:,.0f} | {rate / script:.1f} | {rate / raw:.2f} |{times}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames: a look, not a figure")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each baseline")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    results = measure(options.quick, min(options.seconds, 1.0) if options.quick else options.seconds)
    print(json.dumps(results, indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
