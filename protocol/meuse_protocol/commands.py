"""What a board remembers of commands: the ids it saw last, and what became of each. No IO, no clock.

Owns the rule by which no id runs twice: an id runs only if it is higher than every id before it.
Refuses to know what an op does, and where the memory is kept.

    window = CommandWindow(log.stream, window_saved_before)
    verdict = window.judge(cid, mark(op, arg))     # NEW: look at it; SEEN: code() says what it became
    window.start(cid, mark(op, arg))               # then save window.saved() durably, then act
    window.finish(cid, DONE, value)                # then save again, then log RESULT
    window.having(STARTED)                         # after a boot: nobody knows how these ended
"""

from binascii import crc32
from struct import pack_into, unpack_from

from .msgpack import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Any

# RESULT codes.
DONE = 0
ACCEPTED = 1  # running, or a dangerous one that waits for its commit
FAILED = 2
UNKNOWN_OP = 3
BAD_ARGUMENT = 4
EXPIRED = 5
INTERRUPTED = 6
DENIED = 7
STALE = 8
STARTED = 255  # never on the wire: intent, and no result yet

NEW = 0
SEEN = 1
OLD = 2  # lower than one that was seen, or the id of another command: never runs

STALE_BURST = 4
STALE_EACH_MS = 15000  # after those: a replayed CMD may cost a few records a minute
PREPARED_MS = 30000  # for a person to read the board's state and say yes

WINDOW = 32  # ids remembered: a host has one under way, so the rest is for people and for odd hosts
ENTRY_BYTES = 9  # cid, mark, code
VALUE_BYTES = 64  # longest value that is remembered with its result
_ENTRY = ">IIB"


def mark(op: str, arg: "Any") -> int:
    """Tells commands of the same id apart, should a host have been put back to an older state."""
    return crc32(pack([op, arg]))


def is_late(deadline: "list[Any]", boot: int, uptime_ms: int) -> bool:
    """True unless it is this very boot, and in time: what was held back over a reboot never acts."""
    whole = len(deadline) > 1 and type(deadline[0]) is int and type(deadline[1]) is int
    return not whole or deadline[0] != boot or uptime_ms > deadline[1]


class CommandWindow:
    """Of one stream. `saved`: what saved() gave before; of another stream it means nothing."""

    def __init__(self, stream: int, saved: "Any" = None) -> None:
        self._stream = stream
        self._table = bytearray()  # entries, the oldest id first
        self._values: dict[int, object] = {}
        if saved and len(saved) > 2 and saved[0] == stream and type(saved[1]) is bytes:
            self._table[:] = saved[1][: len(saved[1]) // ENTRY_BYTES * ENTRY_BYTES]
            flat = saved[2]
            for i in range(0, len(flat) - 1, 2):
                self._values[flat[i]] = flat[i + 1]

    def judge(self, cid: int, mark: int) -> int:
        """NEW, SEEN or OLD."""
        at = self._find(cid)
        if at >= 0:
            return SEEN if unpack_from(_ENTRY, self._table, at)[1] == mark else OLD
        return NEW if cid > self.newest() else OLD

    def newest(self) -> int:
        """The highest id seen, 0 before the first."""
        return self._entry(len(self._table) - ENTRY_BYTES)[0] if self._table else 0

    def start(self, cid: int, mark: int) -> None:
        """Intent: from here on this id is taken. It was judged NEW."""
        entry = bytearray(ENTRY_BYTES)
        pack_into(_ENTRY, entry, 0, cid, mark, STARTED)
        if len(self._table) >= WINDOW * ENTRY_BYTES:
            self._values.pop(self._entry(0)[0], None)
            self._table = self._table[ENTRY_BYTES:]
        self._table += entry

    def finish(self, cid: int, code: int, value: object = None) -> None:
        """What became of it; a long value is not remembered."""
        at = self._find(cid)
        if at >= 0:
            self._table[at + ENTRY_BYTES - 1] = code
            self._values.pop(cid, None)
            if value is not None and len(pack(value)) <= VALUE_BYTES:
                self._values[cid] = value

    def code(self, cid: int) -> int:
        """RESULT code or STARTED of an id that was SEEN."""
        code: int = self._entry(self._find(cid))[2]
        return code

    def value(self, cid: int) -> object:
        return self._values.get(cid)

    def having(self, code: int) -> "list[int]":
        """Ids with this code. STARTED after a boot: an intent, and nobody knows how it ended."""
        entries = [self._entry(at) for at in range(0, len(self._table), ENTRY_BYTES)]
        return [entry[0] for entry in entries if entry[2] == code]

    def saved(self) -> "list[Any]":
        """All of it, for msgpack."""
        flat: list[object] = []
        for cid in sorted(self._values):
            flat += (cid, self._values[cid])
        return [self._stream, bytes(self._table), flat]

    def _entry(self, at: int) -> "tuple[Any, ...]":
        return unpack_from(_ENTRY, self._table, at)

    def _find(self, cid: int) -> int:
        for at in range(0, len(self._table), ENTRY_BYTES):
            if self._entry(at)[0] == cid:
                return at
        return -1
