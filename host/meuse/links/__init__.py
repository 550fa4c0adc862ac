"""What a link is: bytes in and out of one wire, and nothing about what they mean.

A link calls `opened(name, kind, wire)` for every connection and gives the receiver it gets back
every byte in order; it stops reading while `hold(True)` is set and reads on after `hold(False)`.
Where the wire keeps packets apart by itself (`packets`), each receive() and each write() is one.
"""

from collections.abc import Callable
from typing import Protocol


class Link(Protocol):
    """One way in: an address, a port, a subscription. It calls `opened` for every connection there."""

    async def start(self) -> None:
        """Begin; raises HostError when it cannot, with nothing left open."""

    def stop_listening(self) -> None:
        """No new connections; the open ones stay."""

    async def close(self) -> None:
        """Close every connection and give everything back."""


class Wire(Protocol):
    """The sending side of one connection."""

    packets: bool
    """False: a stream of bytes, which carries frames. True: whole packets, which need no frames."""

    def write(self, data: bytes) -> None:
        """Queue bytes; only called while `writable`."""

    @property
    def writable(self) -> bool:
        """False while the bounded output buffer is above its mark; `Receiver.writable` follows."""

    def hold(self, held: bool) -> None:
        """Stop or resume reading."""

    def close(self) -> None:
        """Close at once; `Receiver.lost` follows."""


class Receiver(Protocol):
    """The receiving side of one connection."""

    device: str | None
    """Who has proved to be speaking here; None while nobody has."""

    @property
    def stranger(self) -> bool:
        """True until somebody known has spoken; a link that may be flooded reads little at a time till then."""

    def receive(self, data: bytes) -> None:
        """Bytes as they came, in order, in any pieces; one whole packet where the wire has packets."""

    def writable(self) -> None:
        """The wire takes bytes again."""

    def lost(self) -> None:
        """The connection is gone; called exactly once, nothing follows."""


Opened = Callable[[str, str, Wire], Receiver | None]
"""(name, kind, wire) -> who receives, or None to refuse the connection."""
