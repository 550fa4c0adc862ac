"""Moves commands on: to the board, until their RESULT is durable, until their effect is measured.

The only writer of the tables of table.py, but for who asks. Everything that must outlive this process is in them:
a host that was killed sends the same command with the same bytes again. Never on the way of an acknowledgement.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from meuse_protocol import commands as wire
from meuse_protocol.condition_text import decimal
from meuse_protocol.errors import LocalError
from meuse_protocol.host_commands import CommandQueue
from meuse_protocol.messages import NEED_ANCHOR
from meuse_protocol.names import RESULTS

from meuse.bridge import Bridge
from meuse.commands import facts, table
from meuse.commands.facts import Answer, Uptime
from meuse.commands.table import Command, Request
from meuse.commands.watch import Watch
from meuse.errors import JournalError
from meuse.journal.sql import Database
from meuse.journal.threads import Journal

log = logging.getLogger(__name__)

IDLE_S: Final = 0.5
BUSY_S: Final = 0.1
ANCHOR_EACH_MS: Final = 15_000
COMMIT_MS: Final = wire.PREPARED_MS
SAFE_MS: Final = 3_600_000  # a safe action that cannot be delivered stays worth delivering
SILENT_MS: Final = 60_000  # after the expiry: a board that is there and does not answer
GIVE_UP_MS: Final = 86_400_000  # after the expiry: a board that was heard of and never answered

STATE_OF: Final = {
    wire.DONE: table.DONE,
    wire.FAILED: table.FAILED,
    wire.UNKNOWN_OP: table.REFUSED,
    wire.BAD_ARGUMENT: table.REFUSED,
    wire.EXPIRED: table.EXPIRED,
    wire.INTERRUPTED: table.UNKNOWN,
    wire.DENIED: table.REFUSED,
    wire.STALE: table.EXPIRED,
}

Write = Callable[[Database], object]


class Commander:
    """Run `run()` as a task."""

    def __init__(self, journal: Journal, bridge: Bridge, leads: Callable[[], bool] = lambda: True) -> None:
        """Of several hosts that share the journal each sends to its boards; who `leads` does all the rest."""
        self._leads = leads
        self._journal = journal
        self._bridge = bridge
        self._clock = bridge.clock
        self._queues: dict[int, CommandQueue] = {}  # by stream
        self._watches: dict[str, Watch] = {}
        self._streams: dict[str, int | None] = {}  # of the devices in question, looked up each round, like ...
        self._uptimes: dict[int, Uptime | None] = {}  # ... their own time
        self._anchors_ms: dict[int, int] = {}  # when a stream was asked for an anchor last
        self._position: int | None = None  # up to which RESULTs were looked at; None: nothing is open
        self._wake = asyncio.Event()
        self._writes: list[Write] = []
        self._answered = False
        self.moved: Callable[[], None] = lambda: None  # something has a new state, and that is durable
        bridge.arrived = self._arrived
        bridge.answered = self._note_answer

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            busy = False
            try:
                if self._answered:
                    self._answered = False
                    await self._bridge.commits.settled()
                busy = await self.round()
            except JournalError as error:  # the commit queue reports it; everything is tried again
                log.debug("commands: %s", error.message)
                self._writes.clear()
                self._position = None
            try:
                async with asyncio.timeout(BUSY_S if busy else IDLE_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def wake(self) -> None:
        """Somebody has asked for something."""
        self._wake.set()

    async def round(self) -> bool:
        """Moves on what can be moved -> whether anything is open."""
        commands, found = await self._journal.read(self._look)
        if not commands:
            self._position = None
            self._queues.clear()
            self._watches.clear()
            self._anchors_ms.clear()
            return False
        if self._leads():
            await self._take_answers(commands, found)
        else:
            self._position = None
            self._watches.clear()
        devices = {command.device for command in commands}
        self._streams = await self._journal.read(lambda db: facts.streams_of(db, devices))
        self._uptimes.clear()
        for command in commands:
            await self._advance(command)
        await self._flush()
        self._send(commands)
        return True

    # -- from the bridge

    def _arrived(self, stream: int) -> None:
        queue = self._queues.get(stream)
        if queue is not None:
            queue.present(self._clock.now_ms())
        self._wake.set()

    def _note_answer(self) -> None:
        self._answered = True
        self._wake.set()

    # -- what boards answered

    def _look(self, db: Database) -> tuple[list[Command], list[Answer]]:
        """In one view: an answer that is there belongs to a command that is there."""
        commands = table.unsettled(db)
        sent = [command.since_id or 0 for command in commands if command.cid is not None]
        if not sent or not self._leads():
            return commands, []
        found, self._position = facts.answers(db, min(sent) if self._position is None else self._position)
        return commands, found

    async def _take_answers(self, commands: list[Command], found: list[Answer]) -> None:
        sent = {(command.stream, command.cid): command for command in commands if command.cid is not None}
        for answer in found:
            command = sent.get((answer.stream, answer.cid))
            if command is not None and command.state not in table.SETTLED:
                self._answer(command, answer, commands)
        await self._flush()

    def _answer(self, command: Command, answer: Answer, commands: list[Command]) -> None:
        """One RESULT. The first with a code that ends a command counts."""
        if answer.stream in self._queues:
            self._queues[answer.stream].settled(answer.cid)
        if answer.code == wire.ACCEPTED:
            if command.prepared_ms is None:
                command.answer, command.prepared_ms = answer.value, answer.received_ms
                state = answer.value[1:] if isinstance(answer.value, list) else None  # without its token
                self._move(command, table.STARTED, "prepared: " + _state_words(answer.value), {"answer": state})
        elif answer.code in (wire.EXPIRED, wire.STALE) and self._again(command, answer):
            pass
        elif answer.code == wire.DONE and command.done_when:
            if command.started_ms is None:
                command.answer, command.started_ms = answer.value, answer.received_ms
                self._move(command, table.STARTED, f"until {command.done_when}", {"answer": answer.value})
        else:
            command.answer = answer.value
            self._move(command, STATE_OF.get(answer.code, table.UNKNOWN), _words(answer), {"answer": answer.value})
            self._settle_parent(command, answer, commands)

    def _again(self, command: Command, answer: Answer) -> bool:
        """It was never started: under a new id it may go again, while there is time."""
        if command.op == "commit" or command.prepared_ms or self._clock.utc_ms() >= command.expires_ms:
            return False
        if answer.code == wire.STALE:
            self._writes.append(lambda db: table.skip_cids(db, answer.stream))
            command.boot = None
        command.stream = command.cid = command.uptime_ms = None
        self._move(command, table.QUEUED, "the board has restarted" if command.boot else "the id was not new")
        return True

    def _settle_parent(self, command: Command, answer: Answer, commands: list[Command]) -> None:
        """A commit that came too late ends what it was to commit; otherwise that has a RESULT of its own."""
        if command.op != "commit" or answer.code != wire.EXPIRED:
            return
        for parent in commands:
            if parent.id == command.follows and parent.state not in table.SETTLED:
                ran = not isinstance(answer.value, str)  # another boot: it may have been the one before
                self._move(parent, table.UNKNOWN if ran else table.REFUSED, "not prepared any more")

    # -- what time brings

    async def _advance(self, command: Command) -> None:
        now_ms = self._clock.utc_ms()
        if command.state == table.QUEUED:
            if now_ms >= command.expires_ms:
                if self._leads():
                    self._move(command, table.EXPIRED, "the board was not reached in time")
            else:
                await self._assign(command)
        elif command.state == table.SENT:
            closed = self._streams.get(command.device) != command.stream  # nothing sent under it will be answered
            there = self._bridge.session_of(command.device) is not None
            given_up = closed or now_ms >= command.expires_ms + (SILENT_MS if there else GIVE_UP_MS)
            if given_up and (there or self._leads()):
                self._move(command, table.UNKNOWN, "the board never answered")
        elif not self._leads():
            return
        elif command.state == table.STARTED and command.started_ms is not None:
            await self._watch(command, now_ms)
        elif command.state == table.STARTED:
            self._await_commit(command, now_ms)

    async def _assign(self, command: Command) -> None:
        """The next id of the stream, once the board is there and its time is known."""
        session = self._bridge.session_of(command.device)
        if session is None:
            return
        stream = self._streams.get(command.device)
        if stream is None:
            return
        if stream not in self._uptimes:
            self._uptimes[stream] = await self._journal.read(lambda db: facts.uptime(db, stream))
        uptime = self._uptimes[stream]
        now_ms = self._clock.now_ms()
        if uptime is None:
            if now_ms - self._anchors_ms.get(stream, -ANCHOR_EACH_MS) >= ANCHOR_EACH_MS:
                self._anchors_ms[stream] = now_ms
                session.need(stream, NEED_ANCHOR, None)
            return
        if command.boot is not None and uptime.boot <= command.boot:
            return  # of this boot the board has said that it is over
        command.stream, command.boot, command.uptime_ms = stream, uptime.boot, uptime.at(command.expires_ms)
        command.since_id = self._journal.last_id
        command.state = table.SENT
        self._writes.append(lambda db: self._write_sent(db, command, stream))

    def _write_sent(self, db: Database, command: Command, stream: int) -> None:
        if not table.take(db, command):
            command.cid = None  # another host has it
            return
        command.cid = table.next_cid(db, stream)
        table.move(db, command, table.SENT, self._clock.utc_ms(), "")

    def _await_commit(self, command: Command, now_ms: int) -> None:
        assert command.prepared_ms is not None
        over = now_ms > command.prepared_ms + COMMIT_MS
        if command.confirmed and not over:
            arg = ["cid", command.cid, "token", _token(command.answer)]
            expires_ms = min(command.expires_ms, command.prepared_ms + COMMIT_MS)
            name = f"{command.id}/commit-{command.cid}"
            request = Request(name, command.device, "commit", arg, expires_ms, follows=command.id)
            self._writes.append(lambda db: table.ask(db, request, now_ms))
        elif over and not command.confirmed:
            self._move(command, table.REFUSED, "nobody confirmed it in time")
        elif over and now_ms > command.prepared_ms + COMMIT_MS + GIVE_UP_MS:
            self._move(command, table.UNKNOWN, "the board never answered")

    async def _watch(self, command: Command, now_ms: int) -> None:
        """Done when it is measured; if it is not in time, the board is made safe and people are told."""
        watch = self._watches.get(command.id)
        if watch is None:
            watch = self._watches[command.id] = await self._journal.read(lambda db: Watch(db, command))
        looking = watch
        met = await self._journal.read(lambda _: looking.met())
        if met:
            self._move(command, table.DONE, met, self._facts(command, watch))
        elif watch.over(now_ms):
            told = f"not measured: {command.done_when}; {watch.missed()}; made safe"
            self._move(command, table.FAILED, told, self._facts(command, watch))
            output = _output(command.answer)
            arg = [] if output is None else ["output", output]
            request = Request(f"{command.id}/safe", command.device, "safe", arg, now_ms + SAFE_MS, follows=command.id)
            self._writes.append(lambda db: table.ask(db, request, now_ms))
            detail = f"{command.op}: {command.done_when} was not measured in time; made safe"
            log.warning("%s: %s", command.device, detail)
            self._bridge.commits.event("alert", command.device, detail)

    # -- writing and sending

    def _facts(self, command: Command, watch: Watch) -> table.Facts:
        return {"answer": command.answer, "measured": watch.last}

    def _move(self, command: Command, state: str, detail: str, facts: table.Facts | None = None) -> None:
        was, command.state = command.state, state
        if state in table.SETTLED:
            self._watches.pop(command.id, None)
            if command.stream in self._queues and command.cid is not None:
                self._queues[command.stream].settled(command.cid)
        at_ms = self._clock.utc_ms()
        self._writes.append(lambda db: table.move(db, command, was, at_ms, detail, facts))
        log.info("%s: command %s %s %s: %s", command.device, command.id, command.op, state, detail)

    async def _flush(self) -> None:
        """What was decided, in one transaction."""
        writes, self._writes = self._writes, []
        if writes:
            await self._journal.write(lambda db: [write(db) for write in writes])
            self.moved()

    def _drop_settled(self, commands: list[Command]) -> None:
        """What another host has seen answered."""
        sent = {(command.stream, command.cid) for command in commands if command.state == table.SENT}
        for stream, queue in self._queues.items():
            for cid in list(queue.cids()):
                if (stream, cid) not in sent:
                    queue.settled(cid)

    def _send(self, commands: list[Command]) -> None:
        now_ms = self._clock.now_ms()
        self._drop_settled(commands)
        for command in sorted(commands, key=lambda one: one.cid or 0):
            if command.state == table.SENT and command.stream is not None and command.cid is not None:
                queue = self._queues.setdefault(command.stream, CommandQueue())
                if command.cid not in queue.cids():
                    deadline = [command.boot or 0, command.uptime_ms or 0]
                    try:
                        queue.add(command.cid, deadline, command.op, command.arg or None)
                    except LocalError:
                        continue  # its turn comes when others are answered
        for device, stream in {(one.device, one.stream) for one in commands if one.state == table.SENT}:
            session = self._bridge.session_of(device)
            due = self._queues[stream].next(now_ms) if session is not None and stream in self._queues else None
            if due is not None and session is not None and stream is not None:
                try:
                    session.command(stream, *due)
                except LocalError:
                    continue  # more wait on this link than a board remembers: it goes again anyway


def _token(value: object) -> int:
    token = value[0] if isinstance(value, list) and value else 0
    return token if isinstance(token, int) else 0


def _output(value: object) -> str | None:
    """Which output a RESULT names."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0]
    return None


def _state_words(value: object) -> str:
    """What a board says of its state before a dangerous op: [token, [name, value, exp10], ...]."""
    words = []
    for part in value[1:] if isinstance(value, list) else ():
        if isinstance(part, list) and len(part) == 3:
            name, number, exp10 = part
            whole = isinstance(number, int) and isinstance(exp10, int) and -18 <= exp10 <= 18
            words.append(f"{name} {decimal(number, exp10) if whole else 'not measured'}")
    return ", ".join(words)


def _words(answer: Answer) -> str:
    value = answer.value
    if answer.code == wire.DONE:
        return "" if value is None else str(value)
    told = RESULTS[answer.code] if answer.code < len(RESULTS) else f"code {answer.code}"
    return f"{told}: {value}" if isinstance(value, str) else told
