"""Who speaks on a socket that everybody may send to: addresses that have proved who they are, and strangers.

Owns the bounds: so many known addresses, of which the one silent longest makes way if it is idle; few for each device,
since a board behind a NAT leaves one behind whenever its address changes; fewer strangers still, the oldest of which
makes way. Refuses to know sockets and what a packet means.
"""

from collections import OrderedDict
from typing import Any, Generic, Protocol, TypeVar

Address = tuple[Any, ...]
"""As recvfrom gives it and sendto takes it: (host, port), and more for IPv6."""

# A flood of invented addresses replaces strangers by strangers; a board needs its place for one HELLO.
STRANGERS_MAX = 256

# Who was heard so lately is not idle: were it pushed out it would come back at once and push out the next, for ever.
ACTIVE_S = 60.0

# Two networks, and the address before this one on each. More would let replayed HELLOs push other boards out.
ADDRESSES_PER_DEVICE = 4


class Known(Protocol):
    """What is kept of an address."""

    address: Address
    device: str | None
    """None: a stranger."""

    heard_s: float


P = TypeVar("P", bound=Known)


class Peers(Generic[P]):
    """`most`: known addresses at a time. What adds somebody returns who has to make way: the caller drops them."""

    def __init__(self, most: int) -> None:
        self.known: OrderedDict[Address, P] = OrderedDict()  # longest silent first
        self.strangers: dict[Address, P] = {}  # oldest first
        self._most = most
        self._of: dict[str, list[P]] = {}

    def __len__(self) -> int:
        return len(self.known) + len(self.strangers)

    def all(self) -> list[P]:
        return [*self.known.values(), *self.strangers.values()]

    def heard(self, address: Address, now_s: float) -> P | None:
        """Who has this address, if it is remembered."""
        peer = self.known.get(address)
        if peer is None:
            return self.strangers.get(address)
        self.known.move_to_end(address)
        peer.heard_s = now_s
        return peer

    def add(self, stranger: P) -> P | None:
        """Somebody new."""
        self.strangers[stranger.address] = stranger
        return next(iter(self.strangers.values())) if len(self.strangers) > STRANGERS_MAX else None

    def named(self, peer: P, device: str, now_s: float) -> P | None:
        """The peer has proved to be this device, whoever spoke from its address before.

        It has to make way itself when there is no room and nobody is idle.
        """
        self.remove(peer)
        peer.device = device
        peer.heard_s = now_s
        self.known[peer.address] = peer
        theirs = self._of.setdefault(device, [])
        theirs.append(peer)
        if len(theirs) > ADDRESSES_PER_DEVICE:
            return min(theirs, key=lambda one: one.heard_s)
        if len(self.known) > self._most:
            first = next(iter(self.known.values()))
            return first if first.heard_s <= now_s - ACTIVE_S else peer
        return None

    def silent_since(self, before_s: float) -> P | None:
        """One of those who were heard last before that time."""
        first = next(iter(self.known.values()), None)
        return first if first is not None and first.heard_s < before_s else None

    def remove(self, peer: P) -> None:
        """Harmless for who is not there."""
        self.strangers.pop(peer.address, None)
        if peer.device is None:
            return
        self.known.pop(peer.address, None)
        theirs = self._of.get(peer.device, [])
        if peer in theirs:
            theirs.remove(peer)
            if not theirs:
                del self._of[peer.device]
