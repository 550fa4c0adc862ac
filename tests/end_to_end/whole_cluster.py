"""Everything of a cell, on loopback: three nats-servers, PostgreSQL, Mosquitto, three hosts, four workers.

Every process of Meuse reaches the servers over wires of its own that a test can cut, and boards reach a host over one.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from meuse.postgres import Address

from tests.brokers import Broker
from tests.cut_wires import Wire, Wires
from tests.end_to_end.river import MEUSE
from tests.end_to_end.test_shared_journal import SharedHost
from tests.nats_cluster import Cluster
from tests.postgres import Postgres

HOSTS = ("one", "two", "three")
WRITERS, PUBLISHERS = ("first", "second"), ("third", "fourth")
STREAM = "meuse"
LEAD = "(host)"


class Ways:
    """The wires of one process to all servers, and what its meuse.toml says of them."""

    def __init__(
        self, wires: Wires, postgres: Postgres, cluster: Cluster, broker: Broker, journal: Address, store: Address
    ) -> None:
        self.postgres, self.broker = wires.to(postgres.port), wires.to(broker.port)
        self.nats = [wires.to(server.port) for server in cluster.servers]
        self.journal, self._store = (self._over(each) for each in (journal, store))
        servers = [f"nats://127.0.0.1:{wire.port}" for wire in self.nats]
        self.tables = (
            f'[store]\nurl = "{self._store.url}"\n[cluster]\npartitions = 3\nservers = {json.dumps(servers)}\n'
            f'groups = ["store", "topics"]\n[mqtt]\nurl = "mqtt://127.0.0.1:{self.broker.port}"\n'
        )

    def _over(self, address: Address) -> Address:
        name = address.url.rpartition("/")[2]
        return Address(f"postgresql://meuse@127.0.0.1:{self.postgres.port}/{name}")

    @property
    def all(self) -> list[Wire]:
        return [self.postgres, self.broker, *self.nats]


class Part(Protocol):
    """A process of Meuse."""

    process: subprocess.Popen[bytes] | None

    @property
    def up(self) -> bool: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def log(self) -> str: ...


class CellHost(SharedHost):
    """`boards` is the wire by which boards reach it."""

    def __init__(self, folder: Path, ways: Ways, keys: Path, wires: Wires) -> None:
        super().__init__(folder, ways.journal, keys, ways.tables)
        self.ways = ways
        self.boards = wires.to(int(self.address.rpartition(":")[2]))
        self._begun = 0  # where in the log this process begins

    def start(self) -> None:
        self._begun = len(self.log()) if (self.data / "log").exists() else 0
        super().start()

    @property
    def up(self) -> bool:
        return self.process is not None and "listening on" in self.log()[self._begun :]

    @property
    def leads(self) -> bool:
        """As its log says."""
        lines = [line for line in self.log()[self._begun :].splitlines() if line.endswith(LEAD)]
        return self.process is not None and bool(lines) and "leads (" in lines[-1]


class CellWorker:
    """`meuse work`."""

    def __init__(self, folder: Path, group: str, ways: Ways) -> None:
        folder.mkdir()
        self.ways = ways
        self._folder = folder
        self._group = group
        journal = f'[journal]\nurl = "{ways.journal.url}"\nlake = false\n'
        (folder / "meuse.toml").write_text(f'[host]\ndata = "{folder}"\n{journal}{ways.tables}')
        self.process: subprocess.Popen[bytes] | None = None
        self._begun = 0

    def start(self) -> None:
        self._begun = len(self.log()) if (self._folder / "log").exists() else 0
        with (self._folder / "log").open("ab") as log:
            words = [str(MEUSE), "work", self._group, "--config", str(self._folder / "meuse.toml")]
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self._folder)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def up(self) -> bool:
        return self.process is not None and "connected to the cluster" in self.log()[self._begun :]

    def log(self) -> str:
        return (self._folder / "log").read_text()


class Cell:
    """`journal` and `store` lead to PostgreSQL without a wire, for who looks on."""

    def __init__(self, folder: Path, wires: Wires, postgres: Postgres, cluster: Cluster, broker: Broker) -> None:
        self.wires, self.postgres, self.cluster, self.broker = wires, postgres, cluster, broker
        self.journal, self.store = postgres.database(), postgres.database()
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.hosts = [CellHost(folder / name, self._ways(), self.keys, wires) for name in HOSTS]
        self.writers = [CellWorker(folder / name, "store", self._ways()) for name in WRITERS]
        self.publishers = [CellWorker(folder / name, "topics", self._ways()) for name in PUBLISHERS]

    @property
    def parts(self) -> list[Part]:
        return [*self.hosts, *self.writers, *self.publishers]

    @property
    def whole(self) -> bool:
        """Everything runs, and every nats-server has its part of the stream."""
        try:
            return all(part.up for part in self.parts) and all(
                server.leader_of(STREAM) for server in self.cluster.servers
            )
        except OSError:
            return False

    def _ways(self) -> Ways:
        return Ways(self.wires, self.postgres, self.cluster, self.broker, self.journal, self.store)

    @property
    def leader(self) -> CellHost | None:
        return next((host for host in self.hosts if host.leads), None)

    def stop(self) -> None:
        """As systemd does; each must end by itself with status 0."""
        processes = [part.process for part in self.parts if part.process]
        for process in processes:
            process.terminate()
        assert [process.wait(120) for process in processes] == [0] * len(self.parts), self.logs()

    def logs(self) -> str:
        return "\n".join(each.log()[-3000:] for each in self.parts)


@contextmanager
def cell(folder: Path) -> Iterator[Cell]:
    """Started; whatever becomes of the test, nothing of it goes on."""
    postgres = Postgres()
    try:
        postgres.start()
        broker = Broker("mosquitto", folder / "broker")
        with Cluster(folder / "nats") as cluster, broker, Wires() as wires:
            made = Cell(folder, wires, postgres, cluster, broker)
            try:
                for part in made.parts:
                    part.start()
                yield made
            finally:
                for part in made.parts:
                    part.kill()
    finally:
        postgres.remove()
