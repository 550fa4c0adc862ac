"""Publishes what becomes durable in the journal to the cluster's stream, and knows what the workers are done with.

One range of the journal after another, each split by partition. A range is sent when the stream has acknowledged all
its messages; the journal's cursor moves only when every group has acknowledged them too: a cluster that loses
everything gets it all again. What it has already is known from the last message of each partition, never from memory.
Every message names the sequence that it follows in its partition, so a late or second copy, of this distributor or of
one that was taken for dead, is refused whenever it comes.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from meuse import catalog, delivery
from meuse.cluster import batch, stream
from meuse.cluster.batch import Span
from meuse.cluster.stream import Layout
from meuse.errors import JournalError
from meuse.journal.sql import Database
from meuse.journal.threads import Journal
from meuse.lake.files import journal_id

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

# What every group is done with, and, moved only where workers publish, what those are done with.
CURSOR: Final = "cluster"
PUBLISHED: Final = "cluster-topics"

# One message may hold a whole range, and NATS takes 1 MB.
RANGE_BYTES: Final = 512 * 1024

CONFIRM_S: Final = 0.5
IDLE_S: Final = 1.0

# After a failure: 0.2, 0.4 ... 3.2 s.
FIRST_S: Final = 0.2

# Ranges that the workers are not done with; then no more is sent.
MOST_OPEN: Final = 10_000

# Told once when distributing begins to fail (with the reason) and once when it works again ("").
Report = Callable[[str], None]


class _Sent(NamedTuple):
    """A range that is in the stream: where its message, or the newest before it, stands in each partition."""

    last_id: int
    sequences: dict[int, int]


class Distributor:
    """Run `run()` as a task, cancel it to stop."""

    def __init__(
        self,
        journal: Journal,
        servers: list[str],
        layout: Layout,
        groups: list[str],
        utc_ms: Callable[[], int],
        report: Report,
    ) -> None:
        self._journal = journal
        self._servers = servers
        self._layout = layout
        self._group_names = groups
        self._utc_ms = utc_ms
        self._report = report
        self._wake = asyncio.Event()
        self._open: deque[_Sent] = deque()
        self._ends: dict[int, tuple[int, int]] = {}  # partition -> last sequence, and its last_id
        self._read = 0  # as far as the journal was sent
        self._confirmed_at = 0.0
        self.sent = 0  # messages that the stream acknowledged
        self.trouble = ""
        journal.grown.append(self._wake.set)

    async def run(self) -> None:
        """Until cancelled. Trouble is reported and tried again, never raised."""
        await stream.together(self._run())

    async def _run(self) -> None:
        client = await stream.connect(self._servers, "meuse distributor")
        try:
            await self._serve(client)
        finally:
            await stream.close(client)

    async def _serve(self, client: "Client") -> None:
        import nats.errors

        js = client.jetstream(timeout=stream.ANSWER_S)
        failures = 0
        ready = False
        while True:
            stream.go_on()
            self._wake.clear()
            try:
                if not ready:
                    await self._resume(js)
                    ready = True
                moved = await self._send(js)
                await self._confirm(js)
                self._note("")
                failures = 0
            except (nats.errors.Error, TimeoutError, OSError, JournalError) as error:
                ready = False
                self._note(str(error) or type(error).__name__)
                await asyncio.sleep(FIRST_S * 2 ** min(failures, 4))
                failures += 1
                continue
            if not moved:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CONFIRM_S if self._open else IDLE_S):
                        await self._wake.wait()

    # -- sending

    async def _resume(self, js: "JetStreamContext") -> None:
        """Begin behind what the workers are done with; the stream says what of it need not be sent again."""
        from nats.js.errors import NotFoundError

        self._id = await self._journal.read(journal_id)
        self._groups = [stream.group_of(name, self._id) for name in self._group_names]
        await stream.make(js, self._layout, self._groups)
        self._read = await self._journal.read(lambda db: catalog.position(db, CURSOR))
        self._open.clear()
        self._ends.clear()
        for partition in range(self._layout.partitions):
            try:
                last = await js.get_last_msg(self._layout.name, self._layout.subject(self._id, partition))
            except NotFoundError:
                self._ends[partition] = (0, 0)
                continue
            span = batch.parse_span((last.headers or {}).get("Meuse-Span", ""))
            ours = span is not None and span.journal == self._id and span.partitions == self._layout.partitions
            self._ends[partition] = (last.seq or 0, span.last_id if span and ours else 0)

    async def _send(self, js: "JetStreamContext") -> bool:
        """The next range, all of it; False when there is none, or the workers are too far behind."""
        if len(self._open) >= MOST_OPEN:
            return False
        take = partial(delivery.take, after=self._read, most_bytes=RANGE_BYTES)
        found = await self._journal.read(take)
        if not found.records:
            return False
        last_id = found.records[-1].id
        parts = batch.split(found, self._layout.partitions)
        ways = [self._publish(js, partition, part, last_id) for partition, part in parts.items()]
        for failure in await asyncio.gather(*ways, return_exceptions=True):
            if failure is not None:
                raise failure
        self._open.append(_Sent(last_id, {partition: self._ends[partition][0] for partition in parts}))
        self._read = last_id
        return True

    async def _publish(self, js: "JetStreamContext", partition: int, part: delivery.Delivery, last_id: int) -> None:
        """Those of a partition that the stream has not; returns when a majority of its servers has them on disk."""
        sequence, known = self._ends[partition]
        left = delivery.Delivery([one for one in part.records if one.id > known], part.origins)
        if not left.records:
            return
        span = Span(self._id, self._layout.partitions, last_id)
        headers = {
            "Nats-Msg-Id": f"{self._id}-{partition}-{left.records[0].id}-{last_id}",
            "Nats-Expected-Last-Subject-Sequence": str(sequence),
            "Meuse-Span": str(span),
        }
        subject = self._layout.subject(self._id, partition)
        done = await js.publish(subject, batch.encode(left), timeout=stream.ANSWER_S, headers=headers)
        self._ends[partition] = (done.seq, last_id)
        self.sent += 1

    # -- what the workers are done with

    async def _confirm(self, js: "JetStreamContext") -> None:
        """Move the cursor behind ranges that every group has acknowledged, and drop those from the stream."""
        now = asyncio.get_running_loop().time()
        if not self._open or now - self._confirmed_at < CONFIRM_S:
            return
        self._confirmed_at = now
        floors = await self._floors(js)
        done: dict[int, int] = {}
        last_id = 0
        while self._open and all(floors[one] >= sequence for one, sequence in self._open[0].sequences.items()):
            sent = self._open.popleft()
            last_id = sent.last_id
            done.update(sent.sequences)
        if not last_id:
            return
        now_ms = self._utc_ms()
        await self._journal.write(partial(self._move, last_id=last_id, now_ms=now_ms))
        for partition, sequence in done.items():
            # The last message stays: it says how far this partition is.
            await js.purge_stream(self._layout.name, seq=sequence, subject=self._layout.subject(self._id, partition))

    def _move(self, db: Database, last_id: int, now_ms: int) -> None:
        # One that was taken for dead may do the same: what is read here stays so, and nothing goes back.
        db.execute("UPDATE cursors SET position = position WHERE reader = ?", (CURSOR,))
        before, published = catalog.position(db, CURSOR), catalog.position(db, PUBLISHED)
        catalog.move_cursor(db, CURSOR, max(last_id, before), now_ms)
        # Behind, it stays: what others were done with meanwhile nobody has published; see topics/progress.py.
        if stream.TOPICS in self._group_names and published >= before:
            catalog.move_cursor(db, PUBLISHED, max(last_id, published), now_ms)

    async def _floors(self, js: "JetStreamContext") -> dict[int, int]:
        """partition -> every group has acknowledged its messages up to this sequence."""
        floors: dict[int, int] = {}
        for partition in range(self._layout.partitions):
            for group in self._groups:
                info = await js.consumer_info(self._layout.name, group.durable(partition))
                floor = (info.ack_floor.stream_seq if info.ack_floor else 0) or 0
                floors[partition] = min(floor, floors.get(partition, floor))
        return floors

    def _note(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            self._report(trouble)
        self.trouble = trouble
