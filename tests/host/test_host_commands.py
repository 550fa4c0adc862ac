"""The running host's commands against a board that answers as the test says: light client on the shared protocol."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from meuse.commands import commander, table, words
from meuse.commands.table import Request
from meuse.errors import ConfigError, HostError
from meuse.run import Host
from meuse_protocol import commands as wire
from meuse_protocol.columns import single
from meuse_protocol.messages import ANCHOR, BOOT, RESULT, SINGLE
from meuse_protocol.reactions import Command
from meuse_protocol.schema import Schema

from tests.host.hosts import ask, events, key_of, running
from tests.host.light_board import LightBoard, until

DEVICE = "stove-1"
Reply = Callable[[Command], list[tuple[int, int, Any]]]


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


def done(command: Command) -> list[tuple[int, int, Any]]:
    return [(command.cid, wire.DONE, None)]


def silent(command: Command) -> list[tuple[int, int, Any]]:
    return []


class Answering(LightBoard):
    """Answers each CMD with (cid, code, value) as `reply` says, and keeps what it got."""

    reply: Reply = staticmethod(done)
    boot = 0

    def begin(self, boot: int) -> None:
        """It has just started, and knows the time."""
        self.boot = boot
        self.got: list[Command] = []
        self._put(BOOT, boot, 1, "test")
        self._put(ANCHOR, 1000, utc_ms(), 5, boot)

    def measure(self, value: int, at_ms: int) -> None:
        self._put(SINGLE, *single(1, at_ms, [value], None))

    def _put(self, kind: int, *body: object) -> None:
        self.endpoint.record_added(self.log.append(kind, *body))
        self._pump()

    def _take(self, e2e: bytes) -> None:
        super()._take(e2e)
        for event in self.events:
            if isinstance(event, Command):
                self.got.append(event)
                for result in self.reply(event):
                    self._put(RESULT, *result)
        self.events.clear()

    @property
    def ops(self) -> list[tuple[int, str]]:
        """(cid, op) of what came, without repetitions."""
        return list(dict.fromkeys((command.cid, command.op) for command in self.got))


def board_on(data: Path) -> Answering:
    board = Answering(DEVICE, key_of(data, DEVICE))
    board.begin(1)
    return board


async def asked(host: Host, name: str, op: str = "fan", for_ms: int = 60_000, **more: Any) -> None:
    request = Request(name, DEVICE, op, more.pop("arg", ["on", 1]), utc_ms() + for_ms, **more)
    await host.journal.write(lambda db: table.ask(db, request, utc_ms()))


def states(data: Path, name: str) -> list[str]:
    found = ask(data, "SELECT state FROM command_states WHERE command = ? ORDER BY id", name)
    return [str(state) for (state,) in found]


async def reaches(data: Path, name: str, state: str) -> None:
    await until(lambda: states(data, name)[-1:] == [state], f"{name} is {state}, not {states(data, name)}")


def play(data: Path, scene: Callable[[Host, Answering], Any]) -> None:
    async def run() -> None:
        async with running(data) as host:
            board = board_on(data)
            await board.connect(host.tcp[0].address)
            await board.drained()
            try:
                await scene(host, board)
            finally:
                board.unplug()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "value", "end"),
    [
        (wire.DONE, ["fan", 1], "done"),
        (wire.FAILED, "flash", "failed"),
        (wire.UNKNOWN_OP, None, "refused"),
        (wire.BAD_ARGUMENT, "on", "refused"),
        (wire.INTERRUPTED, None, "unknown"),
        (wire.DENIED, "flue_temp < 60 does not hold", "refused"),
        (99, None, "unknown"),
    ],
)
def test_what_a_result_means(tmp_path: Path, code: int, value: object, end: str) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda command: [(command.cid, code, value)]
        await asked(host, "one")
        await reaches(tmp_path, "one", end)
        assert states(tmp_path, "one") == ["queued", "sent", end]
        (command,) = board.got[:1]
        assert command.op == "fan" and command.arg == ["on", 1] and command.deadline[0] == 1
        assert 50_000 < command.deadline[1] < 200_000, "in the board's own uptime"

    play(tmp_path, scene)


def test_one_at_a_time_in_the_order_they_were_asked(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = silent
        for name in ("a", "b", "c", "a"):
            await asked(host, name, op=f"op-{name}")
        await until(lambda: len(board.got) >= 2, "the first one comes again")
        assert board.ops == [(1, "op-a")]
        assert board.got[0] == board.got[1], "the same bytes"
        board.reply = done
        for name in ("a", "b", "c"):
            await reaches(tmp_path, name, "done")
        assert board.ops == [(1, "op-a"), (2, "op-b"), (3, "op-c")]

    play(tmp_path, scene)


def test_a_command_for_nobody_expires_and_one_for_a_board_that_comes_is_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as host:
            board = board_on(tmp_path)
            await asked(host, "short", for_ms=1)
            await asked(host, "long")
            await reaches(tmp_path, "short", "expired")
            assert states(tmp_path, "long") == ["queued"]
            await board.connect(host.tcp[0].address)
            await reaches(tmp_path, "long", "done")
            assert board.ops == [(1, "fan")]
            board.unplug()

    asyncio.run(run())


def test_after_a_reboot_only_what_was_never_started_goes_again_under_a_new_id(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda c: [(c.cid, wire.DONE if c.deadline[0] == board.boot else wire.EXPIRED, None)]
        board.boot = 2  # and the host does not know yet
        await asked(host, "one")
        await until(lambda: states(tmp_path, "one") == ["queued", "sent", "queued"], "it is over for boot 1")
        board.begin(2)
        await reaches(tmp_path, "one", "done")
        assert board.ops == [(2, "fan")] and board.got[0].deadline[0] == 2

    play(tmp_path, scene)


def test_a_journal_that_was_put_back_finds_ids_that_are_new_to_the_board(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda c: [(c.cid, wire.DONE if c.cid > 500 else wire.STALE, None)]
        await asked(host, "one")
        await reaches(tmp_path, "one", "done")
        assert states(tmp_path, "one") == ["queued", "sent", "queued", "sent", "done"]
        assert board.got[-1].cid == 2 + table.SKIPPED_CIDS

    play(tmp_path, scene)


def test_a_dangerous_op_goes_in_two_phases_and_only_when_somebody_says_yes(tmp_path: Path) -> None:
    def two_phases(command: Command) -> list[tuple[int, int, Any]]:
        if command.op != "commit":
            return [(command.cid, wire.ACCEPTED, [77, ["fan", 0, 0], ["flue_temp", 235, -1]])]
        assert command.arg[2:] == ["token", 77]
        return [(command.arg[1], wire.DONE, ["fan", 1]), (command.cid, wire.DONE, ["fan", 1])]

    async def scene(host: Host, board: Answering) -> None:
        board.reply = two_phases
        await asked(host, "one")
        await reaches(tmp_path, "one", "started")
        details = ask(tmp_path, "SELECT detail FROM command_states WHERE state = 'started'")
        assert details == [("prepared: fan 0, flue_temp 23.5",)]
        await asked(host, "other", op="stats")
        await until(lambda: len(board.ops) == 2, "others go meanwhile")
        assert [op for _, op in board.ops] == ["fan", "stats"], "nothing is committed by itself"
        await host.journal.write(lambda db: table.confirm(db, "one"))
        await reaches(tmp_path, "one", "done")
        assert board.ops[-1] == (3, "commit")

    play(tmp_path, scene)


def test_what_nobody_confirms_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commander, "COMMIT_MS", 100)

    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda command: [(command.cid, wire.ACCEPTED, [77])]
        await asked(host, "one")
        await reaches(tmp_path, "one", "refused")
        assert board.ops == [(1, "fan")]

    play(tmp_path, scene)


def test_of_a_board_that_is_there_and_silent_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commander, "SILENT_MS", 100)

    async def scene(host: Host, board: Answering) -> None:
        board.reply = silent
        await asked(host, "one", for_ms=4_000)
        await asked(host, "two")
        await until(lambda: board.got, "the command")
        board.reply = lambda command: done(command) if command.cid > 1 else []
        await reaches(tmp_path, "one", "unknown")
        await reaches(tmp_path, "two", "done")

    play(tmp_path, scene)


def test_done_is_what_was_measured_after_the_act_and_in_time(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda command: [(command.cid, wire.DONE, ["fan", 1])]
        board.announce(Schema(1, "fast", 1, [("flue_temp", "Cel", -1, 0)]))
        await asked(host, "one", done_when="flue_temp > 60.5", within_ms=600_000)
        await reaches(tmp_path, "one", "started")
        board.measure(900, utc_ms() - 60_000)
        board.measure(900, utc_ms() + 700_000)
        board.measure(605, utc_ms())
        await board.drained()
        await asked(host, "fence", op="stats")
        await reaches(tmp_path, "fence", "done")
        assert states(tmp_path, "one") == ["queued", "sent", "started"], "before, after, and not more than"
        board.measure(606, utc_ms())
        await reaches(tmp_path, "one", "done")
        assert "alert" not in events(tmp_path)

    play(tmp_path, scene)


def test_what_is_not_measured_in_time_is_made_safe_and_told(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = lambda command: [(command.cid, wire.DONE, ["fan", 1])]
        board.announce(Schema(1, "fast", 1, [("flue_temp", "Cel", -1, 0)]))
        await asked(host, "one", done_when="flue_temp > 60", within_ms=1)
        await reaches(tmp_path, "one", "failed")
        await reaches(tmp_path, "one/safe", "done")
        assert board.ops == [(1, "fan"), (2, "safe")] and board.got[-1].arg == ["output", "fan"]
        await until(lambda: events(tmp_path).count("alert") == 1, "the alert")

    play(tmp_path, scene)


def test_a_host_that_stops_goes_on_where_it_was(tmp_path: Path) -> None:
    async def run() -> None:
        board = board_on(tmp_path)
        board.reply = silent
        async with running(tmp_path) as host:
            await board.connect(host.tcp[0].address)
            await asked(host, "one")
            await until(lambda: board.got, "the command")
            first = board.got[0]
            board.unplug()
        board.got.clear()
        board.reply = done
        async with running(tmp_path) as host:
            await board.connect(host.tcp[0].address)
            await reaches(tmp_path, "one", "done")
            assert board.got[0] == first, "the same bytes"
            board.unplug()

    asyncio.run(run())


def test_a_board_that_begins_anew_never_answers_what_was_sent_before(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        board.reply = silent
        await asked(host, "one")
        await until(lambda: board.got, "the command")
        board.unplug()
        other = board_on(tmp_path)
        await other.connect(host.tcp[0].address)
        await reaches(tmp_path, "one", "unknown")
        assert other.got == [], "it belongs to another stream"
        other.unplug()

    play(tmp_path, scene)


def test_what_waits_is_bounded_and_what_is_old_goes_but_its_ids(tmp_path: Path) -> None:
    async def scene(host: Host, board: Answering) -> None:
        await asked(host, "one")
        await reaches(tmp_path, "one", "done")
        await host.journal.write(lambda db: table.purge(db, utc_ms() + 1))
        assert states(tmp_path, "one") == [] and ask(tmp_path, "SELECT count(*) FROM commands") == [(0,)]
        await asked(host, "two")
        await reaches(tmp_path, "two", "done")
        assert board.ops == [(1, "fan"), (2, "fan")]
        board.reply = silent
        for n in range(table.WAITING_MAX):
            await asked(host, f"more-{n}")
        with pytest.raises(HostError, match="commands wait"):
            await asked(host, "too-many")

    play(tmp_path, scene)


@pytest.mark.parametrize("more", [{"arg": ["on", {"a": 1}]}, {"arg": [[[[1]]]]}, {"done_when": "moon"}])
def test_what_could_not_travel_is_not_taken(tmp_path: Path, more: dict[str, Any]) -> None:
    async def run() -> None:
        async with running(tmp_path) as host:
            with pytest.raises(ConfigError):
                await asked(host, "one", **more)

    asyncio.run(run())


def test_words_of_a_command() -> None:
    assert words.arguments(["on=on", "lease=30s", "mode=eco"], "flue_temp < 60") == [
        "on", 1, "lease_ms", 30_000, "mode", "eco", "if", ["flue_temp", "<", 60, 0],
    ]  # fmt: skip
    assert words.done_when("flue_temp > 60 within 8 min") == ("flue_temp > 60", 480_000)
    for wrong in (["on"], ["=1"], ["on="]):
        with pytest.raises(ConfigError):
            words.arguments(wrong, None)
    with pytest.raises(ConfigError):
        words.arguments([], "flue_temp")
    for text in ("flue_temp > 60", "flue_temp within 8 min", "flue_temp > 60 within 8 moons"):
        with pytest.raises(ConfigError):
            words.done_when(text)
