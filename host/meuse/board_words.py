"""What boards say in words (BLOB records): log text and crash reports, as lines for the list of events."""

from typing import Final, NamedTuple

from meuse_protocol import messages
from meuse_protocol.errors import RemoteError

CRASH: Final = 1  # subjects (protocol, BLOB)
LOG_TEXT: Final = 2
KINDS: Final = {CRASH: "board-crash", LOG_TEXT: "board-says"}

# Of what a board says; the whole stays in the journal.
TEXT_MAX: Final = 200


class Words(NamedTuple):
    kind: str
    text: str


def of(record: bytes) -> Words | None:
    """The last line of a crash report, or a log text, harmless to show; None for anything else."""
    try:
        fields = messages.parse(messages.splice(record, 0)).fields
        messages.check(fields)
    except RemoteError:
        return None
    kind = KINDS.get(fields[3])
    lines = fields[5].decode(errors="replace").split("\n") if kind else []
    lines = [line.strip() for line in lines if line.strip()]
    if kind is None or not lines:
        return None
    line = lines[-1] if kind == KINDS[CRASH] else " / ".join(lines)
    return Words(kind, "".join(letter if letter.isprintable() else "?" for letter in line)[:TEXT_MAX])
