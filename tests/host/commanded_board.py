"""A light board that measures and carries out commands by the rules of a real one: the shared protocol's CommandWindow.

An op is `act n=NUMBER` (done), `jam n=NUMBER` (begun, and failed) or one that it does not know. `acts` counts what was
carried out by the number that the test gave, so that a command that went out under two ids of the wire is seen, too.
"""

from collections import Counter

from meuse_protocol import commands as wire
from meuse_protocol.commands import CommandWindow
from meuse_protocol.messages import ANCHOR, RESULT
from meuse_protocol.reactions import Command

from tests.host.light_board import now_ms
from tests.host.readings_board import ReadingsBoard, utc_ms

BOOT = 1
CODES = {"act": wire.DONE, "jam": wire.FAILED}


class CommandedBoard(ReadingsBoard):
    """Never restarts: its window and its log outlive every connection."""

    def __init__(self, device: str, key: bytes | None) -> None:
        super().__init__(device, key)
        self.window = CommandWindow(self.log.stream)
        self.acts: Counter[int] = Counter()
        self.results: dict[int, list[int]] = {}  # by the test's number: codes of its RESULTs
        self.deliveries = 0

    def begin(self, boot: int = BOOT) -> None:
        super().begin(boot)
        self.put(ANCHOR, now_ms(), utc_ms(), 5, boot)

    @property
    def answers(self) -> int:
        """RESULT records so far."""
        return sum(len(codes) for codes in self.results.values())

    def _take(self, e2e: bytes) -> None:
        super()._take(e2e)
        for event in self.events:
            if isinstance(event, Command):
                self._carry_out(event)
        self.events.clear()

    def _carry_out(self, command: Command) -> None:
        self.deliveries += 1
        cid, number = command.cid, command.arg[1]
        marked = wire.mark(command.op, command.arg)
        verdict = self.window.judge(cid, marked)
        if verdict == wire.SEEN:
            return  # its RESULT is in the log
        if verdict == wire.OLD:
            code = wire.STALE
        else:
            self.window.start(cid, marked)
            code = self._run(command, number)
            self.window.finish(cid, code)
        self.results.setdefault(number, []).append(code)
        self.put(RESULT, cid, code, None)

    def _run(self, command: Command, number: int) -> int:
        if wire.is_late(command.deadline, BOOT, now_ms()):
            return wire.EXPIRED
        if command.op not in CODES:
            return wire.UNKNOWN_OP
        self.acts[number] += 1
        return CODES[command.op]
