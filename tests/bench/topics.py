"""From the journal's commit to a subscriber: latency at a steady pace, and how fast a backlog is published.

    .venv/bin/python tests/bench/topics.py --quick

The real host runs in this process and publishes to a real nats-server; the subscriber is a process of its own. Both
read the system's one monotonic clock. Part of `make bench`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as paho
from baselines import broker
from load import records
from meuse.config import read_settings
from meuse.journal.batch import Batch, Binding, Row
from meuse.run import Host
from meuse_protocol import messages

TRACE = Path(__file__).resolve().parent.parent / "traces" / "stove.csv"
STREAM = 7
GIVE_UP_S = 300

# (name, rows per record, records per second; 0: all at once, after the publisher was away)
RUNS = [("singles, 100/s", 1, 100), ("frames of 60, 20/s", 60, 20), ("backlog of frames of 60", 60, 0)]


def subscriber(port: int, count: int) -> None:
    """Prints a line when it listens, then [[seq, monotonic seconds], ...] of so many records."""
    heard: dict[int, float] = {}

    def message(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        heard.setdefault(json.loads(message.payload)["seq"], time.monotonic())
        if len(heard) == count:
            client.disconnect()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="subscriber")  # type: ignore[attr-defined]
    client.on_connect = lambda *_: client.subscribe([("meuse/+/+/+/telemetry", 1), ("meuse/+/+/+/backfill", 1)])
    client.on_subscribe = lambda *_: print("listens", flush=True)
    client.on_message = message
    client.connect("127.0.0.1", port)
    client.loop_forever()
    print(json.dumps(list(heard.items())))


async def publish(folder: Path, port: int, made: list[bytes], per_s: int, began: asyncio.Event) -> dict[int, float]:
    """Commit the records at that pace, by a host that publishes -> when each was committed."""
    table = {"host": {"data": str(folder)}, "tcp": {"listen": []}, "mqtt": {"url": f"mqtt://127.0.0.1:{port}"}}
    host = Host(read_settings(table, "bench"))
    await host.start()
    committed: dict[int, float] = {}
    try:
        await connected(host)
        await host.journal.commit(Batch(bindings=[Binding(STREAM, "bench", host.clock.utc_ms(), 1)]))
        rows = [row(seq, record, host.clock.utc_ms()) for seq, record in enumerate(made, 1)]
        groups = [[each] for each in rows] if per_s else [rows]
        start = time.monotonic()
        for at, group in enumerate(groups):
            await asyncio.sleep(max(0.0, start + at / per_s - time.monotonic()) if per_s else 0)
            await host.journal.commit(Batch(rows=group))
            committed |= dict.fromkeys((each.seq for each in group), time.monotonic())
        await began.wait()
    finally:
        await host.stop(finish_lake=False)
    return committed


async def connected(host: Host) -> None:
    for _ in range(100 * GIVE_UP_S):
        if host.topics is not None and host.topics.connected:
            return
        await asyncio.sleep(0.01)
    raise SystemExit("no broker")


def row(seq: int, record: bytes, now_ms: int) -> Row:
    kind, _, _ = messages.head(messages.splice(record, STREAM))
    return Row(STREAM, seq, kind, now_ms, "bench", record)


async def one(folder: Path, rows: int, per_s: int, count: int) -> dict[str, float]:
    """One run: {"median_ms", "p99_ms"} at a pace, {"records_per_s", "readings_per_s"} of a backlog."""
    made = records(TRACE, count + 1, rows)
    with broker(folder) as port:
        words = [sys.executable, __file__, "--listen", str(port), str(count)]
        process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
        assert process.stdout
        await process.stdout.readline()
        done = asyncio.Event()
        work = asyncio.create_task(publish(folder / "data", port, made, per_s, done))
        async with asyncio.timeout(GIVE_UP_S):
            heard = dict(json.loads(await process.stdout.read()))
        done.set()
        committed = await work
    late = sorted(heard[seq] - committed[seq] for seq in heard)
    if per_s:
        return {"median_ms": 1000 * late[len(late) // 2], "p99_ms": 1000 * late[len(late) * 99 // 100]}
    rate = count / late[-1]
    return {"records_per_s": rate, "readings_per_s": rate * rows}


def measure(quick: bool) -> dict[str, dict[str, float]]:
    """{what: figures of `one`}."""
    found = {}
    for name, rows, per_s in RUNS:
        count = (per_s or 500) * (3 if quick else 20)
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            found[name] = asyncio.run(one(Path(folder), rows, per_s, count))
    return found


def table(results: dict[str, dict[str, float]]) -> str:
    """The results as a Markdown table."""
    lines = ["| topics | figures |", "|---|---|"]
    for what, result in results.items():
        lines.append(f"| {what} | {', '.join(f'{key} {value:,.1f}' for key, value in result.items())} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a look, not a figure")
    parser.add_argument("--listen", nargs=2, type=int, metavar=("PORT", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        subscriber(*options.listen)
    else:
        print(table(measure(options.quick)))


if __name__ == "__main__":
    main()
