"""Commands over MQTT: from a backend's publish to `queued`, to `done`; one at a time, and many boards at once.

    .venv/bin/python tests/bench/commands.py

The real host, a real nats-server, boards on the shared protocol over TCP that answer at once; all in this process but
the broker. What is measured is the way of a command through broker, database and host; a board's own time comes on top.
"""

import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as paho

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from baselines import broker

from tests.host.hosts import running
from tests.host.light_board import until
from tests.host.test_host_commands import Answering, key_of

ALONE = 100
BOARDS, EACH = 50, 20


class Backend:
    """When each command was asked for, and when each of its states was heard; seconds."""

    def __init__(self, port: int) -> None:
        self.asked: dict[str, float] = {}
        self.heard: dict[tuple[str, str], float] = {}
        self.listens = False
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)  # type: ignore[attr-defined]
        self._client.on_connect = lambda *_: self._client.subscribe("meuse/+/+/+/command/+", 1)
        self._client.on_subscribe = lambda *_: setattr(self, "listens", True)
        self._client.on_message = self._message
        self._client.on_socket_open = lambda client, _, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.max_inflight_messages_set(1000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        form = json.loads(message.payload)
        self.heard.setdefault((form["id"], form["state"]), time.monotonic())

    def ask(self, device: str, id: str) -> None:
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        form = {"id": id, "op": "fan", "arguments": {"on": 1}, "expires": expires}
        self.asked[id] = time.monotonic()
        self._client.publish(f"meuse/default/default/{device}/command", json.dumps(form), qos=1)

    def took(self, state: str, ids: list[str]) -> str:
        ms = sorted(1000 * (self.heard[id, state] - self.asked[id]) for id in ids)
        return f"{state}: median {statistics.median(ms):.0f} ms, 99 % {ms[len(ms) * 99 // 100]:.0f} ms"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


async def main(folder: Path, port: int) -> None:
    backend = Backend(port)
    settings = {"url": f"mqtt://127.0.0.1:{port}", "commands": True}
    async with running(folder, mqtt=settings) as host:
        boards = [Answering(f"board-{n}", key_of(folder, f"board-{n}")) for n in range(BOARDS)]
        for board in boards:
            board.begin(1)
            await board.connect(host.tcp[0].address)
            await board.drained()
        await until(lambda: backend.listens and host.command_topics and host.command_topics.connected, "all are there")
        alone = [f"alone-{n}" for n in range(ALONE)]
        for id in alone:
            backend.ask("board-0", id)
            await until(lambda: (id, "done") in backend.heard, "it is done")  # noqa: B023
        print(f"one at a time: {backend.took('queued', alone)}; {backend.took('done', alone)}")
        many = [f"many-{n}-{board}" for n in range(EACH) for board in range(BOARDS)]
        began = time.monotonic()
        host.desk._rates.clear()  # a minute later
        for id in many:
            backend.ask(f"board-{id.rpartition('-')[2]}", id)
        await until(lambda: all((id, "queued") in backend.heard for id in many), "all are queued", 300)
        queued = max(backend.heard[id, "queued"] for id in many) - began
        await until(lambda: all((id, "done") in backend.heard for id in many), "all are done", 300)
        done = max(backend.heard[id, "done"] for id in many) - began
        count = len(many)
        print(f"{count} for {BOARDS} boards at once: {count / queued:.0f}/s taken, {count / done:.0f}/s done")
        print(f"  {backend.took('queued', many)}; {backend.took('done', many)}")
        for board in boards:
            board.unplug()
    backend.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top, broker(Path(top)) as there:
        asyncio.run(main(Path(top) / "data", there))
