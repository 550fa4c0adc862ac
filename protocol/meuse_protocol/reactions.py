"""What a board does with the messages of a host that are rare: NEED, ERR and CMD. Loaded by the first of them.

Belongs to BoardEndpoint, whose state it moves; refuses to know how bytes travel.
"""

from collections import namedtuple

from .messages import (
    CMD,
    ERR,
    ERR_LIMIT,
    ERR_PACKET,
    ERR_VERSION,
    NEED,
    NEED_ANCHOR,
    NEED_FRAGMENTS,
    NEED_SCHEMA,
)
from .states import HEARD, NOTED, REFUSAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .board_endpoint import BoardEndpoint
    from .ports import Any

NEED_EACH_MS = 15000  # a replayed NEED may cost a few records a minute, not one a second
NEED_BURST_MS = 60000

Needed = namedtuple("Needed", ("what", "items"))  # NEED_SCHEMA with [sid] or None; NEED_ANCHOR
Command = namedtuple("Command", ("cid", "deadline", "op", "arg"))
Refused = namedtuple("Refused", ("code", "text", "seq"))  # ERR; seq: this record was set aside


def react(
    board: "BoardEndpoint", kind: int, fields: "list[Any]", authentic: bool, now_ms: int
) -> None:
    if kind == NEED:
        _need(board, fields, now_ms)
    elif kind == ERR:
        _refused(board, fields, authentic, now_ms)
    elif kind != CMD:
        board._count("unknown_control")
    elif board._step(HEARD, now_ms):
        board._emit(Command(*fields[2:6]))


def _need(board: "BoardEndpoint", fields: "list[Any]", now_ms: int) -> None:
    what = fields[2]
    if not board._step(HEARD, now_ms):
        pass
    elif what == NEED_FRAGMENTS and board._parts is not None:
        board._parts.want(fields[3])
    elif what != NEED_SCHEMA and what != NEED_ANCHOR:
        board._count("unknown_control")
    elif board._need_ms - now_ms > NEED_BURST_MS - NEED_EACH_MS:
        board._count("need_limited")
    else:
        board._need_ms = max(board._need_ms, now_ms) + NEED_EACH_MS
        board._emit(Needed(what, fields[3]))


def _refused(
    board: "BoardEndpoint", fields: "list[Any]", authentic: bool, now_ms: int
) -> None:
    code = fields[2]
    event = NOTED
    if authentic:
        event = REFUSAL if code == ERR_VERSION else HEARD
    if board._step(event, now_ms):
        seq = fields[4] if authentic else None
        if seq is None or code not in (ERR_PACKET, ERR_LIMIT):
            seq = None
        elif not board._outbox.refused(seq):
            seq = None
        board._emit(Refused(code, fields[3], seq))
