"""Captured bytes into what they say: one plain dict per frame, text line or piece of damage.

For whoever debugs a link. Owns no state and no key: a MAC is shown, not checked.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from meuse_protocol import columns_decode, messages, msgpack, names
from meuse_protocol.errors import PacketError, RemoteError
from meuse_protocol.framing import DAMAGE, FRAME, TEXT, Deframer

from meuse.errors import ConfigError
from meuse.hexdump import is_dump, undump

# A host takes PDUs of 4,096 bytes, a MAC has 16 at most.
_MAX_E2E_BYTES: Final = 4096 + 16
_MAX_MAC_BYTES: Final = 16
_HEX: Final = b"0123456789abcdefABCDEF"


def capture(data: bytes) -> bytes:
    """The bytes themselves, also where `data` is their hexadecimal text or a dump of them; ConfigError on half a byte.

    Hexadecimal is what has nothing but digits, white space, `0x`, and the separators `:` `,` `-`. A dump is what
    xxd, hexdump -C and od print.
    """
    if data.isascii() and is_dump(data.decode()):
        return undump(data.decode())
    digits = data.lower().replace(b"0x", b"").translate(None, b" \t\r\n:,-")
    if not digits or digits.translate(None, _HEX):
        return data
    if len(digits) % 2:
        raise ConfigError("the hexadecimal text ends in the middle of a byte", "check the capture")
    return bytes.fromhex(digits.decode())


def frames(data: bytes) -> Iterator[dict[str, Any]]:
    """What the captured bytes hold, in order; every dict has `offset` (of its first byte) and `kind`.

    kind `frame`: `type`, the named elements, `mac` (hexadecimal); DATA and SINGLE also `times` and
    `rows` of raw values, or `undecodable` with the reason. kind `text`: `text`. kind `damage`:
    `reason` and `hex`. All values are fit for JSON; bytes are hexadecimal.
    """
    deframer = Deframer(_MAX_E2E_BYTES)
    start = 0
    for at in range(len(data)):
        deframer.feed(data[at : at + 1])
        while item := deframer.next():
            yield {"offset": start, **_item(item)}
        if len(deframer.pending) == 1:  # the byte just fed begins something
            start = at
    if deframer.pending:
        yield {"offset": start, **_unfinished(deframer)}


def packet(e2e: bytes) -> dict[str, Any]:
    """What one PDU, with or without a MAC behind it, says; `frames` without `offset`."""
    try:
        end = msgpack.scan(e2e)
        if len(e2e) - end > _MAX_MAC_BYTES:
            raise PacketError("more bytes after the array than a MAC has")
        pdu = messages.parse(e2e, len(e2e) - end)
    except RemoteError as error:
        return _damage(_because(error), e2e)
    said: dict[str, Any] = {"kind": FRAME, "type": names.TYPES.get(pdu.type, pdu.type)}
    said["bytes"] = len(e2e)
    known = names.FIELDS.get(pdu.type, ("type", "stream", "seq")[: 3 if pdu.seq else 2])
    for name, value in zip(known[1:], pdu.fields[1:], strict=False):
        said[name] = _plain(value)
    rest = pdu.fields[len(known) :]
    if pdu.type == messages.ACK:
        said["ranges"] = [_plain(rest[i : i + 2]) for i in range(0, len(rest), 2)]
    elif rest and pdu.type != messages.SINGLE:
        said["more_elements"] = _plain(rest)
    said.update(_meaning(pdu.type, pdu.fields))
    said["mac"] = pdu.mac.hex()
    return said


def _meaning(kind: int, fields: list[Any]) -> dict[str, Any]:
    """What an element means in words, and the rows of a batch."""
    try:
        messages.check(fields)
        if kind in (messages.DATA, messages.SINGLE):
            batch = columns_decode.decode(fields)
            rows = [list(row) for row in zip(*batch.columns, strict=True)]
            said = {"times": batch.times, "rows": _plain(rows)}
            boot_no = columns_decode.boot_no(fields)
            return said if boot_no is None else {**said, "boot_no": boot_no}
    except RemoteError as error:
        return {"undecodable": error.reason}
    for (code_kind, name), words in names.CODES.items():
        if code_kind == kind:
            code = fields[names.FIELDS[kind].index(name)]
            return {"means": words[code]} if 0 <= code < len(words) else {}
    return {}


def _item(item: tuple[Any, ...]) -> dict[str, Any]:
    if item[0] == FRAME:
        return packet(item[1])
    if item[0] == TEXT:
        return {"kind": TEXT, "text": item[1].decode("ascii")}
    return _damage(item[1], item[2])


def _unfinished(deframer: Deframer) -> dict[str, Any]:
    held = bytes(deframer.pending)
    if deframer.in_text and held.isascii():
        return {"kind": TEXT, "text": held.decode("ascii"), "unfinished": True}
    return _damage("the capture ends before the closing zero", held)


def _damage(reason: str, raw: bytes) -> dict[str, Any]:
    return {"kind": DAMAGE, "reason": reason, "bytes": len(raw), "hex": raw.hex()}


def _because(error: RemoteError) -> str:
    return f"{type(error).__name__}: {error.reason}"


def _plain(value: Any) -> Any:
    """The value as JSON can say it: bytes in hexadecimal, NaN and infinities as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
