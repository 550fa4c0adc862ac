"""A real cluster of three nats-servers with JetStream on loopback, each killed, paused and started again at will."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec

from tests.bench.baselines import listening
from tests.ports import free_port

SIZE = 3


class Server:
    """One of them."""

    def __init__(self, folder: Path, name: str, ports: dict[str, int], routes: list[int], more: str) -> None:
        self.name = name
        self.port = ports["client"]
        self.mqtt_port = ports["mqtt"]
        self._http = ports["http"]
        self.folder = folder / name
        self.process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True)
        others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        (self.folder / "nats.conf").write_text(
            f'server_name: {name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self._http}"\n'
            f'jetstream {{ store_dir: "{self.folder / "store"}", sync_interval: always }}\n'
            # Clients know the servers that they were told of, so that a test can have its wires between.
            f'cluster {{ name: tests, listen: "127.0.0.1:{ports["route"]}", routes: [{others}], no_advertise: true }}\n'
            + more.replace("MQTT_PORT", str(self.mqtt_port))
        )

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = str(Path(sys.executable).with_name("nats-server"))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([program, "-c", str(self.folder / "nats.conf")], stdout=log, stderr=log)
        assert listening(self.port, self.process), (self.folder / "log").read_text()

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self) -> None:
        """Its connections stay and carry nothing, as when the network is cut."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def leader_of(self, stream: str) -> str:
        """Who leads the stream, as this one knows it; empty where nobody does."""
        url = f"http://127.0.0.1:{self._http}/jsz?streams=true&config=true"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = msgspec.json.decode(answer.read())
        for account in found.get("account_details", []):
            for one in account.get("stream_detail", []):
                if one["name"] == stream:
                    return str(one.get("cluster", {}).get("leader", ""))
        return ""


class Cluster:
    """Started and ended as a context; everything is under `folder`. more: lines for each; MQTT_PORT is its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        ports = [{kind: free_port() for kind in ("client", "route", "http", "mqtt")} for _ in range(SIZE)]
        routes = [each["route"] for each in ports]
        self.servers = [Server(folder, f"n{number}", each, routes, more) for number, each in enumerate(ports)]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def __enter__(self) -> "Cluster":
        try:
            for server in self.servers:
                server.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            if server.process:
                server.process.kill()
                server.process.wait()

    def leader(self, stream: str) -> Server | None:
        for server in self.servers:
            if server.process:
                name = server.leader_of(stream)
                return next((each for each in self.servers if each.name == name), None)
        return None
