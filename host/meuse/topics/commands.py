"""Commands by way of a broker: requests come in on `.../command`, what becomes of them goes out on `.../command/<id>`.

A connection of its own, for which the broker keeps what comes while the host is away. It forgets a request (PUBACK)
only once that is in the host's database, or once it has the refusal. States are read from there through a durable
cursor, in order: a broker that is away costs nothing. Nothing here is retained; a request that is, is cleared and does
not act: since that shows only to who subscribes anew, the host does so before it takes what has come.
"""

import asyncio
import contextlib
import logging
import re
import ssl
from collections import deque
from functools import partial
from itertools import islice
from typing import Any, Final

from meuse_protocol.rate import Rate
from paho.mqtt.client import MQTTMessage

from meuse.bridge import Bridge
from meuse.catalog import Origin
from meuse.commands import request, table, told
from meuse.commands.desk import Desk, Inquiry, Verdict
from meuse.commands.request import Unfit
from meuse.errors import JournalError
from meuse.journal.threads import Journal
from meuse.keys import DEVICE_ID
from meuse.lake.files import journal_id
from meuse.links.broker import TOO_LONG, BrokerConnection, Keeping
from meuse.links.steady import Steady
from meuse.settings import BrokerAddress
from meuse.topics import forms, progress
from meuse.topics.lane import Entry, Lane
from meuse.topics.names import COMMAND, ROOT, moment, of
from meuse.topics.outbox import ANSWER_S, Outbox
from meuse.topics.reader import Message

log = logging.getLogger(__name__)

TOPICS: Final = f"{ROOT}/+/+/+/{COMMAND}"
TOPIC: Final = re.compile(rf"{ROOT}/({DEVICE_ID.pattern})/({DEVICE_ID.pattern})/({DEVICE_ID.pattern})/{COMMAND}")

# Requests in one transaction, states in one read, messages on their way to the broker.
TOGETHER: Final = 100

# Requests that wait for the database, of 4 kB at most: as many as nats-server has under way (Mosquitto: 20), and fewer
# with QoS 0, which no broker bounds. Reading is never held: the broker's own acknowledgements come on the same way.
WAITING: Final = 1024
WAITING_PLAIN: Final = 256

# Refusals that are told, of one topic in a minute, and what goes to `event`, of all; the rest is counted.
REFUSALS: Final = 60
EVENTS: Final = 20
MINUTE_MS: Final = 60_000
TOPICS_REMEMBERED: Final = 10_000

SAVE_S: Final = 1.0
LOOK_S: Final = 0.5  # other processes write states, too

class CommandTopics:
    """`await open()`, then `run()` as a task; cancel it to stop, then `finish()`."""

    def __init__(
        self,
        journal: Journal,
        bridge: Bridge,
        desk: Desk,
        broker: BrokerAddress,
        secure: ssl.SSLContext | None,
    ) -> None:
        self._journal = journal
        self._bridge = bridge
        self._desk = desk
        self._clock = bridge.clock
        self._broker = broker
        self._secure = secure
        self._steady = Steady(f"commands: broker {broker.host}:{broker.port}", log)
        self._wake = asyncio.Event()
        self._came: deque[MQTTMessage] = deque()
        self._standing: dict[str, list[MQTTMessage]] = {}  # by topic, what came because it is retained there
        self._again: dict[str, None] = {}  # commands that were asked for once more
        self._refusals: dict[str, Rate] = {}
        self._events = Rate(EVENTS, MINUTE_MS)
        self._connected = False
        self._clean = False
        self._saved = 0
        desk.watchers.append(self._wake.set)

    async def open(self) -> None:
        """Take up where the last host stopped; at first, with what happens from now on. Raises JournalError."""
        # Under this name the broker keeps what comes while no host is there; of several, for the one that leads next.
        whose = await self._journal.read(journal_id)
        self._broker = self._broker._replace(client_id=f"meuse-commands-{whose[:16]}")
        at = await self._journal.read(progress.load_states)
        if at is None:
            at = await self._journal.read(told.newest)
            await self._save(at)
        self._lane, self._saved = Lane(at), at

    async def run(self) -> None:
        """Until cancelled. Trouble with broker or disk is told and tried again, never raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._steady.run(self._serve))
            group.create_task(self._keep_saving())

    async def finish(self) -> None:
        """Write how far it has come; raises JournalError."""
        await self._save(self._lane.done)

    def close(self) -> None:
        """It is told nothing any more."""
        self._desk.watchers.remove(self._wake.set)

    @property
    def connected(self) -> bool:
        return self._connected

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            with contextlib.suppress(JournalError):  # the commit queue has said what is wrong
                if self._lane.done != self._saved:
                    await self._save(self._lane.done)

    async def _save(self, done: int) -> None:
        await self._journal.write(lambda db: progress.save_states(db, done))
        self._saved = done

    # -- the broker

    async def _serve(self) -> str:
        """One connection, from its beginning to its end -> why it ended."""
        self._lane.restart()
        self._came.clear()
        self._standing.clear()
        keeping = Keeping(self._message, self._clean)
        outbox = Outbox(self._broker, self._secure, None, self._wake, keeping)
        flowing: asyncio.Task[None] | None = None
        try:
            await outbox.open(TOPICS)
            self._connected, self._clean = True, False
            self._steady.connected()
            flowing = asyncio.create_task(self._flow(outbox))
            ends: set[asyncio.Future[Any]] = {flowing, outbox.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if flowing.done():
                flowing.result()
            return self._ended(outbox.lost.result())
        except OSError as error:
            return self._ended(error.strerror or str(error))
        finally:
            self._connected = False
            if flowing is not None:
                flowing.cancel()
                await asyncio.gather(flowing, return_exceptions=True)
            outbox.close()

    def _ended(self, why: str) -> str:
        """A message that cannot be taken in would only come again: the broker is to forget it, and all it kept."""
        if why.startswith(TOO_LONG):
            self._clean = True
            self._note(None, why)
        return why

    def _message(self, message: MQTTMessage) -> None:
        """Something came; what is too long is not kept in memory."""
        if len(self._came) + len(self._standing) >= (WAITING if message.qos else WAITING_PLAIN):
            self._bridge.count("commands_dropped")  # with QoS 1 it comes again, since nobody acknowledges it
            return
        message.payload = message.payload[: request.MAX_BYTES + 1]
        if message.retain and message.payload:
            self._standing.setdefault(message.topic, []).append(message)
        else:
            self._came.append(message)
        self._wake.set()

    async def _flow(self, outbox: Outbox) -> None:
        while True:
            self._wake.clear()
            try:
                moved = await self._take(outbox) + await self._tell(outbox)
            except JournalError:  # told by the commit queue; what came is kept
                moved = 0
                await asyncio.sleep(LOOK_S)
            moved += self._clear(outbox.connection)
            self._lane.settle()
            if not moved:
                await outbox.wait(LOOK_S)

    # -- requests

    async def _take(self, outbox: Outbox) -> int:
        """What has come becomes durable, together, and is answered."""
        batch = list(islice(self._came, TOGETHER))
        if any(message.payload for message in batch):
            await self._look_at_retained(outbox.connection)
        inquiries: list[Inquiry] = []
        answers: list[Unfit | Inquiry | None] = []
        for message in batch:
            found = self._read(message)
            if isinstance(found, Inquiry) and self._stands(message):
                found = Unfit(found.wanted.id, "it was published retained; ask again without, under another id")
            answers.append(found)
            if isinstance(found, Inquiry):
                inquiries.append(found)
        verdicts = iter(await self._desk.take(inquiries) if inquiries else ())
        for _ in batch:
            self._came.popleft()
        for message, found in zip(batch, answers, strict=True):
            if isinstance(found, Inquiry):
                await self._answer(outbox, message, found, next(verdicts))
            elif found is not None:
                refusal = Verdict(table.REFUSED, found.message, kept=False)
                await self._refuse(outbox, message, found.id, refusal)
            else:
                outbox.connection.acknowledge(message)
        return len(batch)

    async def _look_at_retained(self, connection: BrokerConnection) -> None:
        """Afterwards `_standing` has what is."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if await connection.ask_again():
                    return
        except TimeoutError:
            pass
        raise OSError("the broker does not answer")

    def _stands(self, message: MQTTMessage) -> bool:
        """Whether this very request is retained: a broker does not say so of what it passes on at once."""
        return any(copy.payload == message.payload for copy in self._standing.get(message.topic, ()))

    def _clear(self, connection: BrokerConnection) -> int:
        """What is retained is no command, and does not stay."""
        standing, self._standing = self._standing, {}
        for topic, copies in standing.items():
            connection.publish(topic, b"", qos=1, retain=True)
            self._note(TOPIC.fullmatch(topic), "a command may not be retained; cleared, and not run")
            for copy in copies:
                connection.acknowledge(copy)
        return len(standing)

    def _read(self, message: MQTTMessage) -> Inquiry | Unfit | None:
        """None: there is nothing to answer."""
        if not message.payload:  # something retained was cleared, perhaps by this host
            return None
        topic = TOPIC.fullmatch(message.topic)
        if topic is None:
            return Unfit(None, "no device can have this topic")
        tenant, site, device = topic.groups()
        try:
            wanted = request.read(bytes(message.payload), device, self._clock.utc_ms(), held_back=True)
        except Unfit as error:
            return error
        return Inquiry(wanted, device, tenant, site)

    async def _answer(self, outbox: Outbox, message: MQTTMessage, inquiry: Inquiry, verdict: Verdict) -> None:
        if not verdict.kept:
            await self._refuse(outbox, message, inquiry.wanted.id, verdict)
            return
        if not verdict.new:
            self._again[inquiry.wanted.id] = None
        outbox.connection.acknowledge(message)

    async def _refuse(self, outbox: Outbox, message: MQTTMessage, id: str | None, verdict: Verdict) -> None:
        """On `command/<id>` where that is possible, else as an event; more than a person can read is only counted."""
        topic = TOPIC.fullmatch(message.topic)
        if topic is None or id is None:
            self._note(topic, verdict.detail)
            outbox.connection.acknowledge(message)
        elif not self._may_refuse(message.topic):
            self._bridge.count("command_refusals_dropped")
            outbox.connection.acknowledge(message)
        else:
            tenant, site, device = topic.groups()
            form = {
                "tenant": tenant,
                "site": site,
                "device": device,
                "id": id,
                "op": None,
                "state": verdict.state,
                "at": moment(self._clock.utc_ms()),
                "number": None,
                "detail": verdict.detail,
            }
            done = partial(outbox.connection.acknowledge, message)
            await outbox.publish(Message(f"{message.topic}/{id}", forms.to_json(form)), False, done)

    def _may_refuse(self, topic: str) -> bool:
        if len(self._refusals) >= TOPICS_REMEMBERED:
            self._refusals.clear()
        return self._refusals.setdefault(topic, Rate(REFUSALS, MINUTE_MS)).allow(self._clock.now_ms())

    def _note(self, topic: "re.Match[str] | None", detail: str) -> None:
        """An event of the host's: whoever wrote this may have made up the device."""
        if self._events.allow(self._clock.now_ms()):
            where = f"{topic[0]}: " if topic is not None else ""
            self._bridge.commits.event("command-refused", None, where + detail)
        else:
            self._bridge.count("command_refusals_dropped")

    # -- states

    async def _tell(self, outbox: Outbox) -> int:
        """The next states; after them once more the last one of commands that were asked for again."""
        found = await self._journal.read(partial(told.after, number=self._lane.read, most=TOGETHER))
        for one in found:
            shown = not one.inner and table.OWN_ID.fullmatch(one.id) is not None
            entry = self._lane.add(one.number, int(shown))
            if shown:
                await outbox.publish(_message(one), False, partial(_passed, entry))
        again, self._again = self._again, {}
        for command in again:
            last = await self._journal.read(partial(told.last, command=command, up_to=self._lane.read))
            if last is not None:
                await outbox.publish(_message(last), False, _ignore)
        return len(found)


def _message(one: told.Told) -> Message:
    topic = of(Origin(one.device, one.tenant, one.site), f"{COMMAND}/{one.id}")
    return Message(topic, forms.to_json(told.form(one)))


def _passed(entry: Entry) -> None:
    """The broker has this state."""
    entry.left -= 1


def _ignore() -> None:
    """It was told before."""
