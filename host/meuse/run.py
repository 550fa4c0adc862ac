"""The host, put together: the one place that knows all parts. `Host` starts them and stops them.

Order of stopping: nothing more is read, everything that came becomes durable and is acknowledged,
the links close, the lake takes what the journal has.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from meuse import announced, catalog, housekeeping, postgres
from meuse.access import nats_account, rights
from meuse.access.backends import Backends
from meuse.access.mosquitto import MosquittoFiles
from meuse.access.nats_account import NatsAccount
from meuse.access.rights import Rights
from meuse.access.watch import AccessWatch
from meuse.api.commands import CommandsApi
from meuse.api.token import TokenFile, Tokens
from meuse.bridge import Bridge
from meuse.bus_session import Bus
from meuse.clock import Clock
from meuse.cluster import distributor, stream
from meuse.cluster.distributor import Distributor
from meuse.commands.commander import Commander
from meuse.commands.desk import Desk
from meuse.config import Settings, parse_address, parse_duration
from meuse.console_log import FOLDER as CONSOLE_FOLDER
from meuse.console_log import ConsoleLogs
from meuse.descriptors import Shares
from meuse.errors import HostError, JournalBusy, JournalError
from meuse.identity import Home, Identity
from meuse.journal.commit import CommitQueue
from meuse.journal.database import FILE_NAME
from meuse.journal.leader import Leader
from meuse.journal.place import place_of
from meuse.journal.shared import PostgresJournal
from meuse.journal.sqlite import SqliteJournal
from meuse.journal.threads import Journal
from meuse.keys import FOLDER as KEYS_FOLDER
from meuse.keys import KeyStore
from meuse.lake.task import LakeWriter
from meuse.links import Link, broker, tls
from meuse.links.ble import BleLink, load_bleak
from meuse.links.http import HttpLink
from meuse.links.lorawan import LorawanLink
from meuse.links.mqtt import MqttLink
from meuse.links.rs485 import Rs485Link
from meuse.links.serial import SerialLink
from meuse.links.sms import SmsLink
from meuse.links.tcp import TcpLink
from meuse.links.udp import UdpLink
from meuse.postgres import Address
from meuse.status import Status
from meuse.store import task as store_task
from meuse.store.task import StoreWriter
from meuse.store.writer import Store
from meuse.topics import progress
from meuse.topics.commands import CommandTopics
from meuse.topics.embedded import EmbeddedBroker
from meuse.topics.publisher import Options, Publisher
from meuse.upstream import backlog
from meuse.upstream.task import Upstream
from meuse.web import WebServer

log = logging.getLogger(__name__)

LOCK_FILE = "host.lock"
NOWHERE = "nowhere"

# Readers whose cursors a record must be behind before it may be purged.
READERS = ("catalog", "lake")

# What is in the journal at the end goes to the lake, if that takes no longer than this.
LAKE_FINISH_S = 30.0

# The same for a store: what it does not get now it gets at the next start.
STORE_FINISH_S = 10.0
# A nats-server that asks who may come; beyond this the host starts all the same.
CALLOUT_S = 5.0


class Host:
    """Everything that runs in one process on one data folder."""

    journal: Journal
    commits: CommitQueue
    bridge: Bridge
    access: AccessWatch
    lake: LakeWriter
    status: Status

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.host.data)
        self._keys = KeyStore(self.data / KEYS_FOLDER)
        self.clock = Clock()
        self.links: list[Link] = []
        self.tcp: list[TcpLink] = []
        self.tls: list[TcpLink] = []
        self.web: list[WebServer] = []
        self.requests: HttpLink | None = None
        self.udp: list[UdpLink] = []
        self.broker: EmbeddedBroker | None = None
        self.topics: Publisher | None = None
        self.upstream: Upstream | None = None
        self.store: StoreWriter | None = None
        self.distributor: Distributor | None = None
        self.command_topics: CommandTopics | None = None
        self._make_command_topics: Callable[[], CommandTopics] | None = None
        self.api: list[WebServer] = []
        self.commands_api: CommandsApi | None = None
        self._lock: int | None = None
        self._committing: asyncio.Task[None] | None = None
        self._beside: list[asyncio.Task[None]] = []
        self._leaders: dict[str, Leader] = {}
        # By cursor, who reads the journal beside the lake; of several hosts, those of the one that leads.
        self._readers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}

    async def start(self) -> None:
        """Everything up, links last; raises HostError with nothing left running."""
        try:
            self._lock = lock_folder(self.data)
            await self._start_storage()
            await self._start_topics()
            await self._start_readers()
            self._start_work()
            await self._start_links()
        except BaseException:
            await self.stop(finish_lake=False)
            raise

    async def _start_storage(self) -> None:
        data, clock, settings = self.data, self.clock, self.settings
        address = place_of(settings).address
        if address is None:
            self.journal = await SqliteJournal.open(data / FILE_NAME, clock.utc_ms())
        else:
            self.journal = await PostgresJournal.open(address, clock.utc_ms())
            self._leaders = {role: Leader(address, role) for role in ("host", *(["lake"] * settings.journal.lake))}
        identity = await Identity.load(self.journal, self._keys, clock.utc_ms())
        known = await self.journal.read(announced.load)
        console = ConsoleLogs(data / CONSOLE_FOLDER, settings.console.keep_bytes)
        self.bridge = Bridge(identity, known, console, clock, settings.trust.links)
        self.commits = CommitQueue(self.journal, clock, self.bridge.pressure)
        self.bridge.commits = self.commits
        self.commits.learn = identity.learn
        self.lake = LakeWriter(self.journal, data, clock.utc_ms, self._lake_trouble, address=address)
        whose = f"{socket.gethostname()}:{data.resolve()}/" if self.journal.shared else ""
        self.status = Status(self.journal, self.bridge, clock, whose)
        self._committing = asyncio.create_task(self.commits.run(), name="commit queue")
        self._begin({"status": self.status.run()})
        commander = Commander(self.journal, self.bridge, self._leads)
        self.desk = Desk(self.journal, clock, commander.wake)
        commander.moved = self.desk.moved
        if not settings.upstream.url:  # else its host gives the commands: a board counts them
            self._begin({"commands": commander.run()})
        await self._start_access(identity)

    def _start_work(self) -> None:
        """What of several hosts with one journal only one does; the only host does it all."""
        if not self._leaders:
            self._begin({"lake": self.lake.run(), **self._led()})
            return
        works = {"host": self._led, "lake": lambda: {"lake": self.lake.run()}}
        self._begin({f"lead {role}": leader.run(works[role]) for role, leader in self._leaders.items()})

    def _led(self) -> dict[str, Coroutine[Any, Any, None]]:
        readers, days = (*READERS, *self._readers), self.settings.journal.keep_days
        keep = housekeeping.keep(self.journal, self.clock, days, readers, self.commits.event)
        works: dict[str, Coroutine[Any, Any, None]] = {"keep": keep}
        if self._leaders:
            works["catalog"] = self.lake.keep_catalog()
        if self._make_command_topics is not None:
            works["commands by MQTT"] = self._take_commands(self._make_command_topics)
        return works | {name: work() for name, work in self._readers.items()}

    def _leads(self) -> bool:
        return not self._leaders or self._leaders["host"].leads

    def _begin(self, works: dict[str, Coroutine[Any, Any, None]]) -> None:
        for name, work in works.items():
            self._beside.append(asyncio.create_task(work, name=name))

    async def _start_access(self, identity: Identity) -> None:
        """Who may come is known before anybody does."""
        self.access = AccessWatch(self.journal, identity, self._keys, Backends(self.data), self.bridge)
        await self.access.open()
        if self.settings.access.mosquitto:
            files = MosquittoFiles(Path(self.settings.access.mosquitto), self.access.register, self._topics_rights())
            await files.update()
            self.access.changed.append(files.update)
        self.access.moved.append(self._moved)
        self._beside.append(asyncio.create_task(self.access.run(), name="access"))

    def _topics_rights(self) -> Rights:
        return rights.of_topics(self.settings.mqtt.discovery)

    async def _start_callout(self, url: str, account: NatsAccount) -> None:
        """Answers a nats-server, which is waited for a while: until then it lets nobody in."""
        from meuse.access.callout import Callout  # needs nats-py, which only a broker does

        callout = Callout(self.access.register, account, url)
        self.access.changed.append(callout.recheck)
        self._beside.append(asyncio.create_task(callout.run(), name="callout"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALLOUT_S):
                await callout.ready.wait()

    async def _start_readers(self) -> None:
        """Those that are not wanted any more wait for nothing; with a shared journal another host may want them."""
        wanted = {
            store_task.CURSOR: self._store if self.settings.store.url and not self.settings.cluster.servers else None,
            distributor.CURSOR: self._distributor if self.settings.cluster.servers else None,
            backlog.CURSOR: self._upstream if self.settings.upstream.url else None,
        }
        for cursor, make in wanted.items():
            if make is not None:
                self._readers[cursor] = make()
            elif not self.journal.shared:
                await self.journal.write(partial(catalog.forget_cursor, reader=cursor))

    def _store(self) -> Callable[[], Coroutine[Any, Any, None]]:
        store = self.settings.store
        postgres.errors()  # says what is missing
        there = Store(Address(store.url, store.password_file, store.ca, "store"), self.clock.utc_ms)
        self.store = StoreWriter(self.journal, there, self.clock.utc_ms, self._store_trouble)
        return self.store.run

    def _distributor(self) -> Callable[[], Coroutine[Any, Any, None]]:
        cluster = self.settings.cluster
        stream.driver()
        layout = stream.Layout(cluster.name, cluster.partitions, cluster.replicas, cluster.max_bytes)
        self.distributor = Distributor(
            self.journal, stream.addresses(cluster), layout, self.clock.utc_ms, self._cluster_trouble
        )
        return self.distributor.run

    def _upstream(self) -> Callable[[], Coroutine[Any, Any, None]]:
        self.upstream = Upstream(self.settings.upstream, self.data, self.journal, self.bridge, self.clock)
        return self.upstream.run

    async def _start_links(self) -> None:
        self._shares = Shares(self.settings)
        if self._shares.short:
            log.warning("%s: raise `ulimit -n`, or set max_connections", self._shares.short)
        await self._start_tcp()
        if self._lock is not None:
            note_addresses(self._lock, [link.address for link in self.tcp])
        await self._start_tls()
        await self._start_http()
        await self._start_api()
        await self._start_udp()
        for port in self.settings.serial:
            await self._start_link(SerialLink(port.port, port.baud, self.bridge.opened))
        for table in self.settings.mqtt_link:
            own = self.broker.access.address() if self.broker and table.embedded else None
            await self._start_link(MqttLink(table, self.bridge.opened, self._boards_with_key(), own))
        if self.settings.sms.port:
            await self._start_link(SmsLink(self.settings.sms, self.bridge.opened, self.bridge.count))
        if self.settings.lorawan.url:
            lorawan, bridge = self.settings.lorawan, self.bridge
            await self._start_link(LorawanLink(lorawan, bridge.opened, bridge.turned_away, bridge.count))
        for wire in self.settings.rs485:
            bus = Bus(wire.baud, wire.boards, parse_duration(wire.poll), wire.latency_ms)
            await self._start_link(Rs485Link(wire.port, bus, self.bridge.opened_bus))
        if self.settings.ble.devices or self.settings.ble.service:
            await self._start_link(BleLink(self.settings.ble, self.bridge.opened, load_bleak(), self.bridge.count))

    def _boards_with_key(self) -> list[str]:
        """TENANT/DEVICE of each."""
        homes = self.access.register.homes
        return [f"{homes.get(device, Home()).tenant}/{device}" for device in self._keys.devices()]

    async def _start_topics(self) -> None:
        """Publishing begins before the first board is heard."""
        mqtt = self.settings.mqtt
        if self.settings.access.nats:
            await self._start_callout(self.settings.access.nats, nats_account.of(self.data))
        if not mqtt.wanted:
            if not self.journal.shared:  # another host may publish
                await self.journal.write(progress.forget)
            return
        if mqtt.embedded:
            self.broker = EmbeddedBroker(self.data, mqtt.listen)
            await self.broker.start()
            self._beside.append(asyncio.create_task(self.broker.run(), name="broker"))
            log.info("a broker of our own at %s:%d", self.broker.access.host, self.broker.access.port)
            self.broker.access.introduce(self.access.register)
            await self._start_callout(self.broker.access.client_url, self.broker.account)
        address = self.broker.access.address() if self.broker else broker.address(mqtt, "mqtt")
        secure = broker.secure(mqtt, "mqtt") if address.tls else None
        live_ms, silent_ms = parse_duration(mqtt.live_within), parse_duration(mqtt.silent_after)
        options = Options(live_ms, silent_ms, mqtt.raw, mqtt.discovery)
        if mqtt.commands:
            ours = broker.address_for_commands(mqtt, address)
            self._make_command_topics = partial(CommandTopics, self.journal, self.bridge, self.desk, ours, secure)
        make = partial(Publisher, self.journal, self.bridge, self.clock, options, address, secure)
        if self._leaders:
            self._readers[progress.CURSOR] = partial(self._publish_while_leading, make)
            return
        self.topics = make()
        await self.topics.open()
        self._readers[progress.CURSOR] = self.topics.run

    async def _publish_while_leading(self, make: Callable[[], Publisher]) -> None:
        """From where the host that led before has come to."""
        topics = make()
        while True:
            try:
                await topics.open()
                break
            except JournalError:  # the commit queue tells it
                await asyncio.sleep(1)
        self.topics = topics
        try:
            await topics.run()
        finally:
            topics.close()
            if not self._leads():
                self.topics = None  # it is another host's now

    async def _moved(self) -> bool:
        """Devices have another tenant or site; of several hosts the one that publishes has to know."""
        return self.topics is None or await self.topics.moved()
    async def _take_commands(self, make: Callable[[], CommandTopics]) -> None:
        """As long as this host leads: requests and states that are open go to the next that does."""
        topics = make()
        while True:
            try:
                await topics.open()
                break
            except JournalError:  # the commit queue tells it
                await asyncio.sleep(1)
        self.command_topics = topics
        try:
            await topics.run()
        finally:
            topics.close()
            if not self._leads():
                self.command_topics = None

    async def _start_link(self, link: Link) -> None:
        self.links.append(link)
        await link.start()

    async def _start_tcp(self) -> None:
        tcp = self.settings.tcp
        if not tcp.listen:
            return
        for address in tcp.listen:
            name, port = parse_address(address, "tcp.listen")
            most = self._shares.of(tcp.max_connections)
            link = TcpLink(name, port, self.bridge.opened, most, self.bridge.count)
            await self._start_link(link)
            self.tcp.append(link)
            log.info("listening on %s", link.address)

    async def _start_tls(self) -> None:
        found = self.settings.tls
        if not found.listen:
            return
        context = tls.load(found)
        if wrong := tls.out_of_date(found):
            log.warning("tls: the certificate %s: boards with a clock will refuse it", wrong)
        most = self._shares.of(found.max_connections)
        for address in found.listen:
            handshakes = tls.Handshakes(context, self._handshake_failed)
            name, port = parse_address(address, "tls.listen")
            link = TcpLink(name, port, self.bridge.opened, most, self.bridge.count, handshakes)
            await self._start_link(link)
            self.tls.append(link)
            log.info("listening on %s with TLS", link.address)

    async def _start_http(self) -> None:
        found = self.settings.http
        if not found.listen:
            return
        self.requests = HttpLink(self.bridge.opened, self.bridge.has_key, self.commits.settled)
        app = Starlette(routes=[*self.requests.routes])
        most = self._shares.of(found.max_connections)
        for address in found.listen:
            server = WebServer(*parse_address(address, "http.listen"), app, most)
            await self._start_link(server)
            self.web.append(server)
            log.info("listening on http://%s", server.address)

    async def _start_api(self) -> None:
        found = self.settings.api
        if not found.listen:
            return
        tokens = Tokens(TokenFile(self.data), self.access.register.who_may)
        self.commands_api = CommandsApi(self.journal, self.desk, tokens, self.clock)
        app = Starlette(routes=[*self.commands_api.routes])
        for address in found.listen:
            server = WebServer(
                *parse_address(address, "api.listen"), app, self._shares.of(found.max_connections), "api.listen"
            )
            await self._start_link(server)
            self.api.append(server)
            log.info("listening on http://%s for backends", server.address)

    def _handshake_failed(self, peer: str, why: str) -> None:
        self.bridge.turned_away(f"{tls.KIND}:{peer}", "tls_handshake", why)

    async def _start_udp(self) -> None:
        for address in self.settings.udp.listen:
            name, port = parse_address(address, "udp.listen")
            link = UdpLink(name, port, self.bridge.opened, self.settings.udp.max_peers, self.bridge.count)
            await self._start_link(link)
            self.udp.append(link)
            log.info("listening on %s for datagrams", link.address)

    def _lake_trouble(self, trouble: str) -> None:
        if trouble:
            log.error("lake: %s; readings stay in the journal meanwhile", trouble)
            self.commits.event("lake-failed", None, trouble)
        else:
            log.warning("lake: writing again")
            self.commits.event("lake-recovered", None, "")

    def _store_trouble(self, trouble: str) -> None:
        if trouble:
            log.error("store: %s; readings stay in the journal meanwhile", trouble)
            self.commits.event("store-failed", None, trouble)
        else:
            log.warning("store: writing again")
            self.commits.event("store-recovered", None, "")

    def _cluster_trouble(self, trouble: str) -> None:
        if trouble:
            log.error("cluster: %s; records stay in the journal meanwhile", trouble)
            self.commits.event("cluster-failed", None, trouble)
        else:
            log.warning("cluster: distributing again")
            self.commits.event("cluster-recovered", None, "")

    async def failed(self) -> None:
        """Returns only when a part has ended that must not; raises what ended it."""
        tasks = [task for task in (self._committing, *self._beside) if task is not None]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            raise HostError(f"{task.get_name()} ended: {error!r}", "this is a bug") from error

    async def stop(self, finish_lake: bool = True) -> None:
        """Make durable what came, close the links, write the lake; safe to call half started."""
        for link in self.links:
            link.stop_listening()
        if self._committing is not None:
            self.bridge.stop_reading()
            self.commits.close()
            await asyncio.gather(self._committing, return_exceptions=True)
        for link in self.links:
            await link.close()
        if self.requests is not None:
            self.requests.close()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self.broker is not None:
            await self.broker.stop()
        if self._committing is not None:
            with contextlib.suppress(HostError, TimeoutError):
                async with asyncio.timeout(LAKE_FINISH_S):
                    await self.status.write()
                    if self.topics is not None:
                        await self.topics.finish()
                    if self.command_topics is not None:
                        await self.command_topics.finish()
                    if finish_lake and (not self._leaders or ("lake" in self._leaders and self._leaders["lake"].leads)):
                        await self.lake.finish()
        if self.store is not None:
            if self._leads():
                with contextlib.suppress(HostError, TimeoutError):
                    async with asyncio.timeout(STORE_FINISH_S):
                        await self.store.finish()
            await self.store.close()
        for leader in self._leaders.values():
            await leader.close()
        if hasattr(self, "journal"):
            await self.journal.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def lock_folder(data: Path) -> int:
    """Take the data folder for this process (until the descriptor is closed); makes it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        handle = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        why = "it is no folder" if data.exists() and not data.is_dir() else error.strerror
        raise HostError(f"cannot use {data}: {why}", "name another folder with --data") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise JournalBusy(f"another host runs on {data}", "stop it, or name another folder with --data") from error
    return handle


def note_addresses(lock: int, addresses: list[str]) -> None:
    """Who finds the folder in use reads in the lock where its host can be reached; NOWHERE: by no TCP."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, "\n".join(addresses or [NOWHERE]).encode(), 0)
