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
from typing import Any, Protocol, TypeVar

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
from meuse.clock import Clock
from meuse.cluster import distributor, stream
from meuse.cluster.distributor import Distributor
from meuse.commands.commander import Commander
from meuse.commands.desk import Desk
from meuse.config import parse_duration
from meuse.console_log import FOLDER as CONSOLE_FOLDER
from meuse.console_log import ConsoleLogs
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
from meuse.links import broker
from meuse.links.tcp import TcpLink
from meuse.listening import Listening
from meuse.postgres import Address
from meuse.settings import Settings
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

log = logging.getLogger(__name__)


class Topics(Protocol):
    """One connection to a broker, and what is done over it."""

    async def open(self) -> None: ...

    async def run(self) -> None: ...

    def close(self) -> None: ...


T = TypeVar("T", bound=Topics)

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
        self.listening: Listening | None = None
        self.broker: EmbeddedBroker | None = None
        self.topics: Publisher | None = None
        self.upstream: Upstream | None = None
        self.store: StoreWriter | None = None
        self.distributor: Distributor | None = None
        self.command_topics: CommandTopics | None = None
        self._make_command_topics: Callable[[], CommandTopics] | None = None
        self._opening = 0  # topics that read at this moment where devices are
        self._lock: int | None = None
        self._committing: asyncio.Task[None] | None = None
        self._beside: list[asyncio.Task[None]] = []
        self._leaders: dict[str, Leader] = {}
        # By cursor, who reads the journal beside the lake; of several hosts, those of the one that leads.
        self._readers: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}

    @property
    def tcp(self) -> list[TcpLink]:
        """Where boards connect by TCP; none before the start."""
        return self.listening.tcp if self.listening else []

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
        trouble = self._trouble("lake", "writing again")
        self.lake = LakeWriter(self.journal, data, clock.utc_ms, trouble, address=address)
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
            works["commands by MQTT"] = self._while_leading(self._make_command_topics, self._takes_commands)
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

    async def _start_callout(self, urls: list[str], account: NatsAccount) -> None:
        """Answers nats-servers, which are waited for a while: until then they let nobody in."""
        from meuse.access.callout import Callout  # needs nats-py, which only a broker does

        callout = Callout(self.access.register, account, urls)
        self.access.changed.append(callout.recheck)
        self._beside.append(asyncio.create_task(callout.run(), name="callout"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALLOUT_S):
                await callout.ready.wait()

    async def _start_readers(self) -> None:
        """Those that are not wanted any more wait for nothing; with a shared journal another host may want them."""
        wanted = {
            store_task.CURSOR: self._store if self.settings.store.url and not self._by_workers(stream.STORE) else None,
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
        self.store = StoreWriter(self.journal, there, self.clock.utc_ms, self._trouble("store", "writing again"))
        return self.store.run

    def _distributor(self) -> Callable[[], Coroutine[Any, Any, None]]:
        cluster = self.settings.cluster
        stream.driver()
        layout = stream.Layout(cluster.name, cluster.partitions, cluster.replicas, cluster.max_bytes)
        servers, trouble = stream.addresses(cluster), self._trouble("cluster", "distributing again")
        self.distributor = Distributor(self.journal, servers, layout, cluster.groups, self.clock.utc_ms, trouble)
        return self.distributor.run

    def _by_workers(self, group: str) -> bool:
        """Whether a group of workers does it, and not the host."""
        cluster = self.settings.cluster
        return bool(cluster.servers) and group in cluster.groups

    def _upstream(self) -> Callable[[], Coroutine[Any, Any, None]]:
        self.upstream = Upstream(self.settings.upstream, self.data, self.journal, self.bridge, self.clock)
        return self.upstream.run

    async def _start_links(self) -> None:
        tokens = Tokens(TokenFile(self.data), self.access.register.who_may) if self.settings.api.listen else None
        api = CommandsApi(self.journal, self.desk, tokens, self.clock) if tokens else None
        own = self.broker.access.address() if self.broker else None
        self.listening = Listening(self.settings, self.bridge, self.commits, self._boards_with_key, own, api)
        await self.listening.start()
        if self._lock is not None:
            note_addresses(self._lock, [link.address for link in self.listening.tcp])

    def _boards_with_key(self) -> list[str]:
        """TENANT/DEVICE of each."""
        homes = self.access.register.homes
        return [f"{homes.get(device, Home()).tenant}/{device}" for device in self._keys.devices()]

    async def _start_topics(self) -> None:
        """Publishing begins before the first board is heard."""
        mqtt = self.settings.mqtt
        if self.settings.access.nats:
            account = nats_account.of(self.data)
            account.introduce(self.access.register, self._topics_rights())
            await self._start_callout(self.settings.access.nats, account)
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
            await self._start_callout([self.broker.access.client_url], self.broker.account)
        address = self.broker.access.address() if self.broker else broker.address(mqtt, "mqtt")
        secure = broker.secure(mqtt, "mqtt") if address.tls else None
        live_ms, silent_ms = parse_duration(mqtt.live_within), parse_duration(mqtt.silent_after)
        options = Options(live_ms, silent_ms, mqtt.raw, mqtt.discovery, self._by_workers(stream.TOPICS))
        if mqtt.commands:
            ours = broker.address_for_commands(mqtt, address)
            self._make_command_topics = partial(CommandTopics, self.journal, self.bridge, self.desk, ours, secure)
        make = partial(Publisher, self.journal, self.bridge, self.clock, options, address, secure)
        if self._leaders:
            self._readers[progress.CURSOR] = partial(self._while_leading, make, self._publishes)
            return
        topics = make()
        await self._open(topics)
        self.topics = topics  # not before: what is not open can neither be told of moves nor finished
        self._readers[progress.CURSOR] = topics.run

    async def _moved(self) -> bool:
        """Devices have another tenant or site; of several hosts the one that publishes has to know."""
        if self.topics is None:
            return not self._opening
        return await self.topics.moved()

    async def _while_leading(self, make: Callable[[], T], note: Callable[[T | None], None]) -> None:
        """Topics from where the host that led before has come to; what is open goes to the next that does."""
        topics = make()
        while True:
            try:
                await self._open(topics)
                break
            except JournalError:  # the commit queue tells it
                await asyncio.sleep(1)
        note(topics)
        try:
            await topics.run()
        finally:
            topics.close()
            if not self._leads():
                note(None)

    async def _open(self, topics: Topics) -> None:
        """Raises JournalError; whoever moves meanwhile is told of once more."""
        self._opening += 1
        try:
            await topics.open()
        finally:
            self._opening -= 1

    def _publishes(self, topics: Publisher | None) -> None:
        self.topics = topics

    def _takes_commands(self, topics: CommandTopics | None) -> None:
        self.command_topics = topics

    def _trouble(self, part: str, again: str) -> Callable[[str], None]:
        """Told of what a part cannot do (why), and that it can again (""): once each, and not on the way of an ACK."""

        def tell(trouble: str) -> None:
            if trouble:
                log.error("%s: %s; records stay in the journal meanwhile", part, trouble)
            else:
                log.warning("%s: %s", part, again)
            self.commits.event(f"{part}-failed" if trouble else f"{part}-recovered", None, trouble)

        return tell

    async def failed(self) -> None:
        """Returns only when a part has ended that must not; raises what ended it."""
        tasks = [task for task in (self._committing, *self._beside) if task is not None]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            raise HostError(f"{task.get_name()} ended: {error!r}", "this is a bug") from error

    async def stop(self, finish_lake: bool = True) -> None:
        """Make durable what came, close the links, write the lake; safe to call half started."""
        if self.listening is not None:
            self.listening.stop_listening()
        if self._committing is not None:
            self.bridge.stop_reading()
            self.commits.close()
            await asyncio.gather(self._committing, return_exceptions=True)
        if self.listening is not None:
            await self.listening.close()
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
