"""What Meuse is measured beside: bare SQLite, and the script that people usually write.

Each function works on its own folder, on the same disk as the others, and returns readings made durable
per second. A reading is one time stamp with the 8 channels of the stove trace.
"""

import asyncio
import contextlib
import json
import multiprocessing
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

TOPIC = "stove/readings"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int, process: "subprocess.Popen[bytes]", seconds: float = 20.0) -> bool:
    """Whether something takes connections on the loopback port, before `process` ends or time is up."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.02)
    return False


def raw_sqlite(folder: Path, records: list[bytes], rows_per_record: int, seconds: float) -> float:
    """One row per record, committed in groups of 200 (WAL, FULL): what the disk and SQLite allow."""
    db = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE records(id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER, seq INTEGER,"
        " record BLOB, UNIQUE(stream, seq))"
    )
    stored, seq = 0, 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        group = []
        for _ in range(200):
            seq += 1
            group.append((7, seq, records[seq % len(records)]))
        db.execute("BEGIN")
        db.executemany("INSERT INTO records(stream, seq, record) VALUES (?,?,?)", group)
        db.execute("COMMIT")
        stored += len(group)
    took = time.perf_counter() - began
    db.close()
    return stored * rows_per_record / took


def _publish(port: int, rows: list[dict[str, float]], stop: "multiprocessing.synchronize.Event") -> None:
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="publisher")
    client.max_inflight_messages_set(200)
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = 0
    while not stop.is_set():
        # At most 200 unacknowledged: the broker and the subscriber set the pace, nothing piles up.
        message = client.publish(TOPIC, json.dumps(rows[sent % len(rows)]), qos=1)
        sent += 1
        if sent % 200 == 0:
            message.wait_for_publish(10)
    client.loop_stop()


async def _subscribe_and_insert(port: int, db: sqlite3.Connection, seconds: float) -> float:
    import aiomqtt

    columns = None
    async with aiomqtt.Client("127.0.0.1", port, identifier="script") as client:
        await client.subscribe(TOPIC, qos=1)
        stored, began = 0, 0.0
        async for message in client.messages:
            if not began:
                began = time.perf_counter()
            reading = json.loads(message.payload)  # type: ignore[arg-type]
            columns = columns or ",".join("?" * len(reading))
            db.execute(f"INSERT INTO readings VALUES ({columns})", list(reading.values()))
            db.commit()
            stored += 1
            if time.perf_counter() - began > seconds:
                break
        return stored / (time.perf_counter() - began)


def usual_script(folder: Path, rows: list[dict[str, float]], seconds: float) -> float:
    """MQTT client, JSON, one INSERT and one commit per message (WAL, FULL), behind a real broker."""
    db = sqlite3.connect(folder / "script.sqlite")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    names = ",".join(f'"{name}" REAL' for name in rows[0])
    db.execute(f"CREATE TABLE readings({names})")
    with broker(folder) as port:
        stop = multiprocessing.Event()
        publisher = multiprocessing.Process(target=_publish, args=(port, rows, stop))
        publisher.start()
        try:
            return asyncio.run(_subscribe_and_insert(port, db, seconds))
        finally:
            stop.set()
            publisher.join(10)
            publisher.kill()
            db.close()


@contextlib.contextmanager
def broker(folder: Path):  # type: ignore[no-untyped-def]
    """A nats-server of our own with MQTT on a free loopback port; ended when the block ends."""
    port, client_port = free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: bench\nlisten: "127.0.0.1:{client_port}"\n'
        f'jetstream {{ store_dir: "{folder / "jetstream"}" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}" }}\n'
    )
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if not binary:
        raise SystemExit("no nats-server: run `make setup`")
    server = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        if not listening(port, server):
            raise SystemExit("nats-server did not start")
        yield port
    finally:
        server.terminate()
        server.wait(10)
