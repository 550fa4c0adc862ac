"""Commands of one stream that have no RESULT yet: which one goes, and when it goes again. No IO.

Owns the order: one command is under way at a time, so none can overtake another on any link. Refuses
to know what a command is for and how its RESULT becomes durable.

    queue.add(cid, deadline, op, arg)
    queue.present(now_ms)                    # the board said HELLO, or was heard again: send at once
    while there is a link and (command := queue.next(now_ms)): endpoint.command(stream, *command)
    queue.settled(cid)                       # its RESULT is durable, or nobody waits for it any more
    wake at queue.deadline()                 # ms, or None
"""

from .errors import LocalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

WAITING_MAX = 64
AGAIN_MS = 1000  # first pause before the same command goes again; it doubles
AGAIN_MAX_MS = 30000


class CommandQueue:
    def __init__(self) -> None:
        self._waiting: list[tuple[Any, ...]] = []
        self._at_ms = 0
        self._pause_ms = AGAIN_MS

    def add(self, cid: int, deadline: "list[int]", op: str, arg: object) -> None:
        """The next one; LocalError if too many wait, or the id is not higher than all before it."""
        if len(self._waiting) >= WAITING_MAX:
            raise LocalError("more than %d commands wait" % WAITING_MAX)
        if self._waiting and cid <= self._waiting[-1][0]:
            raise LocalError("cid %d does not rise" % cid)
        self._waiting.append((cid, deadline, op, arg))

    def present(self, now_ms: int) -> None:
        """The board is there: what waits goes now, and soon again."""
        self._at_ms = now_ms
        self._pause_ms = AGAIN_MS

    def next(self, now_ms: int) -> "tuple[Any, ...] | None":
        """(cid, deadline, op, arg) that is to be sent now; the same bytes whenever it goes again."""
        if not self._waiting or now_ms < self._at_ms:
            return None
        self._at_ms = now_ms + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, AGAIN_MAX_MS)
        return self._waiting[0]

    def deadline(self) -> "int | None":
        """When next() has something; None: nothing waits."""
        return self._at_ms if self._waiting else None

    def settled(self, cid: int) -> None:
        """This one goes no more; the one after it goes at once."""
        if self._waiting and self._waiting[0][0] == cid:
            self._at_ms = 0
            self._pause_ms = AGAIN_MS
        self._waiting = [command for command in self._waiting if command[0] != cid]

    def cids(self) -> "list[int]":
        """Ids without a RESULT, in their order."""
        return [command[0] for command in self._waiting]
