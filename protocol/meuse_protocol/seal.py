"""What makes packets authentic at the board's end: keys, MAC, and the guard against floods.

Knows one stream and its keys; decides whether a packet may be believed, and nothing about what it
says. Without a key everything about this stream is believed: the host trusts that link, too.
"""

from . import messages
from .auth import DOWN, UP, direction_keys, equal, mac
from .errors import LocalError, PacketError
from .messages import is_record, parse, splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Aes, Any

FORGED_EACH_MS = 100
FORGED_BURST_MS = 1000  # more than ten within it, and nothing is read for MUTE_MS
MUTE_MS = 10000

# What open() says of a packet beside "" (authentic): what may come without a MAC, and the counters.
UNSIGNED = "unsigned"
MUTED = "muted"
OTHER_STREAM = "other_stream"
BAD_MAC = "bad_mac"


class Seal:
    """psk: the device's 32 secret bytes, None on a link the host trusts.

    aes: makes a cipher of a key; then records go sealed (sealing.py). LocalError without a psk.
    """

    def __init__(
        self, stream: int, psk: "bytes | None", mac_bytes: int, aes: "Aes | None" = None
    ) -> None:
        self.mac_bytes = mac_bytes if psk else 0
        self._stream = stream
        self._keys = direction_keys(psk, stream) if psk else None
        self._forged_ms = self._muted_ms = 0
        self._hide: Any = None
        if aes:
            from .sealing import seal, seal_key

            if not psk:
                raise LocalError("sealed without a key")
            ecb = aes(seal_key(psk, stream))
            self._hide = lambda body: seal(ecb, stream, body)

    @property
    def keyed(self) -> bool:
        return self._keys is not None

    def signed(self, body: bytes) -> bytes:
        """R and its MAC; of a sealed link's record, what hides it and the MAC of that."""
        if self._hide and is_record(body[1 if body[0] < 0xA0 else 3]):
            body = self._hide(body)
        if self._keys:
            return body + mac(self._keys[0], UP, self._stream, body, self.mac_bytes)
        return body

    def packet(self, body: bytes, stream: int) -> bytes:
        """E2E: R with its stream, and its MAC."""
        return splice(self.signed(body), stream)

    def open(self, e2e: bytes, short: int, now_ms: int) -> "tuple[Any, str]":
        """(PDU, verdict): "" if it is authentic, UNSIGNED, or the name of the counter; short: our alias.

        Raises RemoteError for what is no PDU.
        """
        if now_ms < self._muted_ms:
            return None, MUTED
        try:
            pdu = parse(e2e, self.mac_bytes)
        except PacketError:  # perhaps one of the two that may come without a MAC
            pdu = parse(e2e)
        need_hello = pdu.type == messages.NEED and pdu.fields[2] == messages.NEED_HELLO
        harmless = pdu.type == messages.ERR or need_hello
        # Without a MAC "stream 0" may be said of another stream: a log that was wiped since.
        named = pdu.stream == self._stream or pdu.stream == short
        if not named and (pdu.stream or not (self._keys or harmless)):
            return pdu, OTHER_STREAM
        if not self._keys:
            return pdu, ""
        if pdu.mac:
            tag = mac(self._keys[1], DOWN, self._stream, pdu.record, self.mac_bytes)
            if equal(tag, pdu.mac):
                return pdu, ""
        elif harmless:
            return pdu, UNSIGNED
        self._forged_ms = max(self._forged_ms, now_ms) + FORGED_EACH_MS
        if self._forged_ms - now_ms > FORGED_BURST_MS:
            self._muted_ms = now_ms + MUTE_MS
        return pdu, BAD_MAC
