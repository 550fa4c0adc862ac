"""Publishes what becomes durable, and remembers how far it has come; see progress.py for the two lanes.

A record counts as published when the broker has acknowledged all its messages (PUBACK), which says nothing about
subscribers and never lets a board forget anything. Never on the way of an acknowledgement: records are read and
decoded on the journal's reading thread, and what is on its way is bounded. A broker that is away costs nothing: young
readings go out first when it is back, what was missed follows.
"""

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meuse_protocol.received import RangeSet

from meuse.bridge import Bridge
from meuse.clock import Clock
from meuse.commands import alarms
from meuse.decode import Block
from meuse.errors import JournalError
from meuse.journal.threads import Journal
from meuse.lake.files import journal_id
from meuse.links.broker import Will
from meuse.links.steady import Steady
from meuse.settings import BrokerAddress
from meuse.topics import forms, progress
from meuse.topics.forms import Timed
from meuse.topics.lane import Entry, Lane
from meuse.topics.names import HOST_STATE, LATEST, moment
from meuse.topics.outbox import IDLE_S, Outbox
from meuse.topics.reader import TAKE_RECORDS, Batch, Message, Range, Reader, Taken, within
from meuse.topics.shelf import Shelf
from meuse.topics.standing import Standing
from meuse.topics.watch import Watch, heard_before

log = logging.getLogger(__name__)

# Progress is written so often; what was published since is published again after a crash.
SAVE_S: Final = 1.0
WATCH_S: Final = 2.0

# With many devices looking takes long: no more than a twentieth of the time.
WATCH_SHARE: Final = 20

# The newest values are written so often; after a crash they are made good from the journal, from so many records.
SHELVE_S: Final = 30.0
RESTORE_RECORDS: Final = 20_000

LATEST_S: Final = 0.5


@dataclass(frozen=True)
class Options:
    """Of [mqtt]; times in ms."""

    live_within_ms: int
    silent_after_ms: int
    raw: bool
    discovery: str  # prefix, or empty
    by_workers: bool = False  # they publish readings, this one what they leave to it, and everything else


class Publisher:
    """`await open()`, then `run()` as a task; cancel it to stop, then `finish()`."""

    def __init__(
        self,
        journal: Journal,
        bridge: Bridge,
        clock: Clock,
        options: Options,
        broker: BrokerAddress,
        secure: ssl.SSLContext | None,
    ) -> None:
        self._journal = journal
        self._bridge = bridge
        self._clock = clock
        self._options = options
        self._broker = broker
        self._secure = secure
        self._steady = Steady(f"topics: broker {broker.host}:{broker.port}", log)
        self._connected = False
        self._wake = asyncio.Event()
        self._latest_at = 0.0
        self._beside_due = True  # events or gaps may have come
        self._changed = False
        self._shelved_at = 0.0
        self._failed: alarms.Alerts = {}
        self._whose = secrets.token_bytes(8)  # the progress is, while no other host begins
        self._began_ms = clock.utc_ms()
        self.published = 0  # messages that the broker acknowledged

    async def open(self) -> None:
        """Take up where the last host stopped; raises JournalError."""
        by_workers, at_ms = self._options.by_workers, self._clock.utc_ms()
        begin = partial(progress.begin, whose=self._whose, by_workers=by_workers, at_ms=at_ms)
        at = await self._journal.write(begin)
        self._taken_over: set[int] = set()  # of what workers left: is in progress, and not written yet
        journal = await self._journal.read(journal_id)
        self._shelf = Shelf(await self._journal.read(progress.retained))
        self._before = await self._journal.read(partial(heard_before, elsewhere=self._journal.shared))
        self._reader = Reader(journal, self._options.live_within_ms, self._options.raw)
        self._reader.handed = at.handed
        await self._journal.read(self._reader.learn)
        self._live, self._backlog = Lane(at.live), Lane()
        self._events, self._gaps = Lane(at.event), Lane(at.gap)
        self._late, self._waiting, self._left = at.late, at.waiting, at.left
        # What they waited for may have been passed, and not written down, just before a crash.
        self._reconsider([id for first, last in self._waiting.ranges() for id in range(first, last + 1)])
        self._shelved = at.shelved
        self._standing = Standing(self._shelf, self._clock, self._options.discovery)
        await self._catch_up(at.shelved, at.live)
        self._standing.put_right(self._reader.origin_of)
        silent_ms, latest = self._options.silent_after_ms, self._standing.latest
        self._watch = Watch(self._bridge, self._reader, latest, self._shelf, silent_ms, self._bridge.commits.event)
        if self._journal.shared:
            await self._take_over()
        self._journal.grown.append(self._grown)

    async def moved(self) -> bool:
        """Devices have another tenant or site: what stands under the old name goes, and comes under the new one."""
        await self._journal.read(self._reader.learn_anew)
        self._watch.moved(self._standing.put_right(self._reader.origin_of))
        self._wake.set()
        return True

    async def run(self) -> None:
        """Until cancelled. Trouble with broker or disk is told and tried again, never raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._steady.run(self._serve))
            group.create_task(self._keep_watch())
            group.create_task(self._keep_saving())

    async def finish(self) -> None:
        """Write how far it has come; raises JournalError."""
        await self._save(everything=True)

    def close(self) -> None:
        """It will be told nothing any more."""
        self._journal.grown.remove(self._grown)

    @property
    def connected(self) -> bool:
        return self._connected

    # -- beside the broker

    async def _keep_watch(self) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(JournalError):  # the commit queue has said what is wrong
                self._failed = await self._journal.read(alarms.firing)
                if self._journal.shared:  # boards of other hosts
                    self._before = await self._journal.read(partial(heard_before, elsewhere=True))
            await self._watch.look(self._before, self._failed)
            if self._shelf.due:
                self._wake.set()
            await asyncio.sleep(max(WATCH_S, WATCH_SHARE * (time.monotonic() - began)))

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            try:
                await self._expire()
                if self._journal.shared:
                    await self._take_over()
                if self._changed:
                    await self._save()
            except JournalError:
                self._changed = True  # the commit queue has said what is wrong

    async def _save(self, everything: bool = False) -> None:
        """In one transaction; the newest values, which change with every reading, only now and then."""
        self._changed = False
        self._settle()
        # Copies: the other thread writes while this one goes on.
        late, waiting, left = (_copy(progress.bound(ids)) for ids in (self._late, self._waiting, self._left))
        shelve = everything or time.monotonic() - self._shelved_at >= SHELVE_S
        now = progress.Progress(
            *(self._live.done, late, waiting, self._events.done, self._gaps.done, self._shelved, left),
            self._reader.handed,
        )
        if shelve:
            self._shelved_at, self._shelved = time.monotonic(), now.safe
            self._standing.put_latest()
            now = now._replace(shelved=now.safe)
        changed = self._shelf.unsaved("" if shelve else f"/{LATEST}")
        taken, at_ms = self._taken_over.copy(), self._clock.utc_ms()
        work = partial(progress.save, whose=self._whose, now=now, retained=changed, taken_over=taken, at_ms=at_ms)
        try:
            await self._journal.write(work)
            self._taken_over -= taken
        except JournalError:
            self._shelf.not_saved(changed)
            raise

    async def _catch_up(self, shelved: int, live: int) -> None:
        """The newest values of what was published since they were written."""
        after = max(shelved, live - RESTORE_RECORDS)
        while after < live:
            found, after_that = await self._journal.read(partial(self._reader.seen, after=after, last=live))
            for block, when in found:
                self._take_readings(block, when)
            after = after_that or live

    async def _expire(self) -> None:
        """What has waited for a day goes as it is."""
        if not self._waiting.last():
            return
        first, last = self._waiting.ranges()[0]
        gone = await self._journal.read(
            partial(self._reader.expired, first=first, last=last, now_ms=self._clock.utc_ms())
        )
        if gone:
            self._reconsider(range(first, gone + 1))

    def _reconsider(self, ids: Iterable[int]) -> None:
        """These of the waiting records go to the backlog, which looks again whether they must wait."""
        moved = [id for id in ids if self._waiting.contains(id)]
        for id in moved:
            self._waiting.discard(id)
            self._late.add(id)
            if id > self._reader.handed:
                self._left.add(id)
        if moved:
            self._changed = True
            self._wake.set()

    async def _take_over(self) -> None:
        """What workers leave to the host goes to the backlog."""
        for number, ids in (await self._journal.read(progress.left)).items():
            if number in self._taken_over:
                continue  # not written yet
            self._taken_over.add(number)
            for first, last in ids.ranges():
                self._late.add_range(first, last)
                self._left.add_range(first, last)
            self._changed = True
            self._wake.set()

    def _over(self, id: int) -> None:
        """The backlog is done with it."""
        self._late.discard(id)
        self._left.discard(id)

    def _grown(self) -> None:
        """Something was committed."""
        self._beside_due = True
        self._wake.set()

    # -- the broker

    async def _serve(self) -> str:
        """One connection, from its beginning to its end -> why it ended."""
        for lane in (self._live, self._events, self._gaps):
            lane.restart()
        self._backlog.restart(0)  # the other lane will note some again that this one has passed
        self._beside_due = True
        last = Will(HOST_STATE, self._host_state("offline"))
        outbox = Outbox(self._broker, self._secure, last, self._wake)
        flowing: asyncio.Task[None] | None = None
        try:
            await outbox.open()
            self._connected = True
            self._steady.connected()
            self._shelf.put(HOST_STATE, self._host_state("online"))
            self._shelf.again()
            flowing = asyncio.create_task(self._flow(outbox))
            ends: set[asyncio.Future[Any]] = {flowing, outbox.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if flowing.done():
                flowing.result()
            return outbox.lost.result()
        except OSError as error:
            return error.strerror or str(error)
        finally:
            self._connected = False
            if flowing is not None:
                flowing.cancel()
                await asyncio.gather(flowing, return_exceptions=True)
            outbox.close(Message(*last))

    def _host_state(self, presence: str) -> bytes:
        """Written at the beginning, since the broker says the last word."""
        return forms.to_json({"presence": presence, "started_at": moment(self._began_ms)})

    def _has(self, entry: Entry | None, message: Message) -> None:
        """The broker has a message: of a record, or a retained one."""
        self.published += 1
        if entry is not None:
            entry.left -= 1
        else:
            self._shelf.acknowledged(*message)
        self._changed = True

    async def _flow(self, outbox: Outbox) -> None:
        """What is most wanted first, again and again."""
        while True:
            self._wake.clear()
            try:
                moved = await self._publish_shelf(outbox)
                moved += await self._publish_beside(outbox)
                moved += await self._publish_live(outbox)
                moved += await self._publish_backlog(outbox)
            except JournalError:  # told by the commit queue
                moved = 0
            self._settle()
            if not moved:
                await outbox.wait(LATEST_S if self._standing.news else IDLE_S)

    async def _publish_shelf(self, outbox: Outbox) -> int:
        now = time.monotonic()
        if self._standing.news and now - self._latest_at >= LATEST_S:
            self._latest_at = now
            self._standing.put_latest()
        await self._name()
        count = 0
        for topic, payload in self._shelf.take(TAKE_RECORDS):
            await self._publish(outbox, Message(topic, payload), None)
            count += 1
        return count

    async def _name(self) -> None:
        """Topics are written down before anything stands there: else a host that is killed leaves what none clears."""
        unnamed = self._shelf.unnamed(TAKE_RECORDS)
        if unnamed:
            with contextlib.suppress(JournalError):  # told by the commit queue; nothing waits for a disk that is full
                await self._journal.write(partial(progress.keep, whose=self._whose, retained=unnamed.items()))
            self._shelf.named(unnamed)

    async def _publish_beside(self, outbox: Outbox) -> int:
        """Events and gaps."""
        if not self._beside_due:
            return 0
        self._beside_due = False
        count = 0
        for lane, read in ((self._events, self._reader.events), (self._gaps, self._reader.gaps)):
            found = await self._journal.read(partial(read, after=lane.read))
            self._beside_due = self._beside_due or len(found) >= TAKE_RECORDS
            for taken in found:
                await self._publish_taken(outbox, lane, taken)
            count += len(found)
        return count

    async def _publish_live(self, outbox: Outbox) -> int:
        lane = self._live
        if self._journal.last_id <= lane.read:
            return 0
        batch = await self._journal.read(partial(self._reader.live, after=lane.read, now_ms=self._clock.utc_ms()))
        if batch.passed > lane.read:
            self._late.add_range(lane.read + 1, batch.passed)
            lane.add(batch.passed, 0)
        for taken in batch.taken:
            if taken.late:
                self._late.add(taken.id)
            await self._publish_taken(outbox, lane, taken)
        await self._resolve(batch.resolved)
        return len(batch.taken) + (batch.passed > 0)

    async def _publish_backlog(self, outbox: Outbox) -> int:
        """One step only: then whatever is young goes first again."""
        lane = self._backlog
        if lane.idle and not progress.clipped(self._late, lane.read + 1, 1):
            lane.restart(0)  # what was noted behind it meanwhile
        ranges = progress.clipped(self._late, lane.read + 1, TAKE_RECORDS)
        if not ranges:
            return 0
        left = progress.clipped(self._left, ranges[0][0], TAKE_RECORDS)
        batch = await self._journal.read(
            partial(self._reader.late, ranges=ranges, left=left, now_ms=self._clock.utc_ms())
        )
        for taken in self._sorted_out(batch, ranges, left):
            await self._publish_taken(outbox, lane, taken)
        lane.read = batch.passed
        await self._resolve(batch.resolved)
        return 1

    def _sorted_out(self, batch: Batch, ranges: list[Range], left: list[Range]) -> list[Taken]:
        """What of the backlog is to be published. Without waiting, so that no record is between two sets meanwhile."""
        found = {taken.id: taken for taken in batch.taken}
        wanted = []
        for first, last in ranges:
            for id in range(first, min(last, batch.passed) + 1):
                taken = found.get(id)
                if taken is not None and not taken.waits:
                    if id <= self._reader.handed or within(left, id):
                        wanted.append(taken)
                        continue
                    if self._left.contains(id):
                        continue  # left while it was read: next time
                    if taken.readings is not None:  # workers publish it
                        self._take_readings(*taken.readings)
                elif taken is not None:
                    self._waiting.add(id)
                self._over(id)
        return wanted

    async def _resolve(self, streams: set[int]) -> None:
        """Something came that records of these streams may have waited for."""
        if streams and self._waiting.last():
            first, last = self._waiting.ranges()[0][0], self._waiting.last()
            self._reconsider(
                await self._journal.read(partial(self._reader.resolved, streams=streams, first=first, last=last))
            )

    async def _publish_taken(self, outbox: Outbox, lane: Lane, taken: Taken) -> None:
        if taken.waits:
            self._waiting.add(taken.id)
        if taken.readings is not None:
            self._take_readings(*taken.readings)
        entry = lane.add(taken.id, len(taken.messages))
        for message in taken.messages:
            await self._publish(outbox, message, entry)

    def _take_readings(self, block: Block, when: Timed) -> None:
        self._standing.take(block, when, self._reader.facts.origin(block.stored.stream))

    async def _publish(self, outbox: Outbox, message: Message, entry: Entry | None) -> None:
        """As soon as there is room; `entry`: of a record, None: retained."""
        await outbox.publish(message, entry is None, partial(self._has, entry, message))

    def _settle(self) -> None:
        """What the broker has need not be read again."""
        for lane in (self._live, self._events, self._gaps):
            lane.settle()
        for id in self._backlog.settle():
            self._over(id)


def _copy(ids: RangeSet) -> RangeSet:
    return RangeSet.from_bytes(ids.to_bytes())
