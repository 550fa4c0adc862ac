"""What a log finds on its flash when a board starts. Needed once; a board then gives its heap back.

Owns the judgement of what is left: which stream, which segments, where they end. Refuses to know what
the log does with it.
"""

import os
import struct
from binascii import crc32

from .log_layout import HEAD, NO_SEQ, find

EEXIST, ENOENT = 17, 2


def look(folder: str, random_u32):
    """(stream, boots so far, next seq, lowest seq not acknowledged, first seq of each segment,
    highest seq in them, size of the newest if it can be gone on with, else 0)

    Without a whole head the stream is a new one, and what is there goes. OSError: no answer from flash.
    """
    try:
        os.mkdir(folder)
    except OSError as error:
        if error.errno != EEXIST:
            raise
    path = folder + "/head"
    head = _read_head(path) or _read_head(path)  # never a new stream for one failed read
    found = _segments(folder)
    if head is None:
        while found:  # of a stream that nobody knows any more
            os.remove("%s/%08x" % (folder, found.pop()))
        head = random_u32() | 0x80000000, 0, 1, 1
    stream, boots, edge, cum = head
    flushed, size = _end(folder, stream, found)
    following = max(edge, flushed + 1)
    return stream, boots, following, min(cum, following), found, flushed, size


def _end(folder: str, stream: int, found: list):
    """Highest seq on flash, and the size of the newest segment; what was begun in vain is deleted."""
    newest = True
    for first in reversed(found[:]):
        path = "%s/%08x" % (folder, first)
        try:
            number, end, flushed = 1, 0, 0
            while number:  # it stops behind each damaged place
                number, _, end, passed, torn = find(path, stream, end, NO_SEQ)
                flushed = max(flushed, number, passed)
            if flushed:
                return flushed, end if newest and not torn else 0
            os.remove(path)  # nothing of it was ever whole
            found.remove(first)
        except OSError:
            newest = False  # unreadable now: nothing is appended to it
    return 0, 0


def _read_head(path: str):
    """(stream, boot, edge, cum), or None when there is none that is whole."""
    try:
        with open(path, "rb") as f:
            data = f.read(21)
    except OSError as error:
        if error.errno == 2:  # ENOENT; any other error means a flash that does not answer
            return None
        raise
    if len(data) != 21 or crc32(data[:17]).to_bytes(4, "big") != data[17:]:
        return None
    return struct.unpack(HEAD, data)[1:]


def _segments(folder: str) -> list:
    """First seqs of all segments, ascending; other names are somebody else's."""
    found = []
    for entry in os.ilistdir(folder):
        try:
            seq = int(entry[0], 16)
        except ValueError:
            continue
        if entry[0] == "%08x" % seq and entry[1] == 0x8000:
            found.append(seq)
    found.sort()
    return found
