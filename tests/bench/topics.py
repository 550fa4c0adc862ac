"""From the journal's commit to a subscriber: latency at a steady pace, and how fast a heap of records is published.

    .venv/bin/python tests/bench/topics.py --quick

The real host runs in this process and publishes to a real nats-server; the subscriber is a process of its own. Both
read the system's one monotonic clock. Then the same records by way of a cluster: the journal in a real PostgreSQL,
three real nats-servers with JetStream, and `meuse work topics` in processes of their own publish. Part of `make bench`.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from baselines import broker
from load import rows_of, schema_body
from meuse.config import read_settings
from meuse.journal.batch import Batch, Binding, Row
from meuse.run import Host
from meuse_protocol import columns, messages

from tests.nats_cluster import Cluster
from tests.postgres import Postgres

TRACE = Path(__file__).resolve().parent.parent / "traces" / "stove.csv"
STREAM = 7
GIVE_UP_S = 300
SETTLE_S = 3.0  # until everybody has what is not measured, and a new cluster its leaders

# (name, rows per record, records per second; 0: all at once)
RUNS = [("singles, 100/s", 1, 100), ("frames of 60, 20/s", 60, 20), ("frames of 60 at once", 60, 0)]

# Processes that publish; 0: the host does.
WORKERS = (0, 1, 2)

# More devices than partitions, so that all workers have something to do.
DEVICES = 16

Tables = dict[str, Any]


def fresh(count: int, rows: int) -> list[bytes]:
    """A SCHEMA and so many records of the trace's values, measured within the last minute."""
    heads, _, values = rows_of(TRACE)
    now = int(time.time())
    made = [messages.record(messages.SCHEMA, 1, *schema_body(heads))]
    for seq in range(2, count + 2):
        picked = [list(values[(seq * rows + at) % len(values)]) for at in range(rows)]
        if rows == 1:
            made.append(messages.record(messages.SINGLE, seq, *columns.single(1, now, picked[0])))
        else:
            body = columns.encode(1, list(range(now - rows + 1, now + 1)), picked)
            made.append(messages.record(messages.DATA, seq, *body))
    return made


def subscriber(port: int, count: int) -> None:
    """Prints a line when it listens, then [[stream and seq, monotonic seconds], ...] of so many records."""
    heard: dict[str, float] = {}

    def message(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        form = json.loads(message.payload)
        heard.setdefault(f"{form['stream']}-{form['seq']}", time.monotonic())
        if len(heard) == count:
            client.disconnect()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="subscriber")  # type: ignore[attr-defined]
    client.on_connect = lambda *_: client.subscribe("meuse/+/+/+/telemetry", 1)
    client.on_subscribe = lambda *_: print("listens", flush=True)
    client.on_message = message
    client.connect("127.0.0.1", port)
    client.loop_forever()
    print(json.dumps(list(heard.items())))


async def publish(tables: Tables, made: list[bytes], per_s: int, heard: asyncio.Event) -> dict[str, float]:
    """Commit the records at that pace -> when each was committed."""
    host = Host(read_settings(tables, "bench"))
    await host.start()
    committed: dict[str, float] = {}
    try:
        await connected(host)
        now_ms = host.clock.utc_ms()
        streams = range(STREAM, STREAM + DEVICES)
        await host.journal.commit(Batch(bindings=[Binding(one, f"bench-{one}", now_ms, 1) for one in streams]))
        await host.journal.commit(Batch(rows=[row(one, 1, made[0], now_ms) for one in streams]))
        await asyncio.sleep(SETTLE_S)
        rows = [row(streams[seq % DEVICES], seq, record, now_ms) for seq, record in enumerate(made[1:], 2)]
        groups = [[each] for each in rows] if per_s else [rows[at : at + 1000] for at in range(0, len(rows), 1000)]
        start = time.monotonic()
        for at, group in enumerate(groups):
            await asyncio.sleep(max(0.0, start + at / per_s - time.monotonic()) if per_s else 0)
            await host.journal.commit(Batch(rows=group))
            committed |= dict.fromkeys((f"{each.stream}-{each.seq}" for each in group), time.monotonic())
        await heard.wait()
    finally:
        await host.stop(finish_lake=False)
    return committed


async def connected(host: Host) -> None:
    for _ in range(100 * GIVE_UP_S):
        if host.topics is not None and host.topics.connected:
            return
        await asyncio.sleep(0.01)
    raise SystemExit("no broker")


def row(stream: int, seq: int, record: bytes, now_ms: int) -> Row:
    kind, _, _ = messages.head(messages.splice(record, stream))
    return Row(stream, seq, kind, now_ms, "bench", record)


@contextlib.contextmanager
def tables_of(folder: Path, port: int, workers: int) -> Iterator[Tables]:
    """Settings of a host that publishes, or of one with so many workers, which run."""
    mqtt = {"url": f"mqtt://127.0.0.1:{port}"}
    table: Tables = {"host": {"data": str(folder / "data")}, "tcp": {"listen": []}, "mqtt": mqtt}
    if not workers:
        yield table
        return
    server = Postgres().start()
    try:
        with Cluster(folder / "cluster") as cluster, contextlib.ExitStack() as stack:
            table["journal"] = {"url": server.database().url, "lake": False}
            table["cluster"] = {"servers": cluster.urls, "groups": ["topics"]}
            host_first(table)
            for _ in range(workers):
                stack.enter_context(worker(folder, table))
            yield table
    finally:
        server.remove()


def host_first(table: Tables) -> None:
    """A host makes the journal's tables, and says from which record on workers publish."""

    async def begin() -> None:
        host = Host(read_settings(table, "bench"))
        await host.start()
        await connected(host)
        await host.stop(finish_lake=False)

    asyncio.run(begin())


@contextlib.contextmanager
def worker(folder: Path, table: Tables) -> Iterator[None]:
    """`meuse work topics` as a process."""
    lines = []
    for name, keys in table.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    (folder / "meuse.toml").write_text("\n".join(lines))
    words = [str(Path(sys.executable).with_name("meuse")), "work", "topics", "--config", str(folder / "meuse.toml")]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def one(folder: Path, rows: int, per_s: int, count: int, workers: int) -> dict[str, float]:
    """One run: {"median_ms", "p99_ms"} at a pace, {"records_per_s", "readings_per_s"} of all at once."""
    with broker(folder) as port, tables_of(folder, port, workers) as tables:
        return asyncio.run(_one(tables, port, rows, per_s, count))


async def _one(tables: Tables, port: int, rows: int, per_s: int, count: int) -> dict[str, float]:
    made = fresh(count, rows)
    words = [sys.executable, __file__, "--listen", str(port), str(count)]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    assert process.stdout
    await process.stdout.readline()
    done = asyncio.Event()
    work = asyncio.create_task(publish(tables, made, per_s, done))
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
        for workers in WORKERS:
            count = (per_s or 500) * (3 if quick else 20)
            who = f"{workers} worker{'s' * (workers > 1)} of a cluster" if workers else "the host"
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                found[f"{name}, {who}"] = one(Path(folder), rows, per_s, count, workers)
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
