"""Which device was heard when, on which link, and how fast its records became durable.

Numbers only, in memory; status.py writes them down, the live table shows them.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Presence:
    """One device since the host was started. Times are UTC, milliseconds since 1970."""

    device: str
    link: str = ""  # that brought its last records, or on which it said HELLO since
    links: int = 0  # connections on which it is bound now
    since_ms: int = 0  # of the present state, connected or not
    heard_ms: int = 0
    records: int = 0
    ack_ms: int = 0  # from the record's arrival to its acknowledgement, smoothed
    streams: set[int] = field(default_factory=set)

    @property
    def online(self) -> bool:
        return self.links > 0


class Presences:
    """All devices heard since the start, by id."""

    def __init__(self) -> None:
        self.devices: dict[str, Presence] = {}

    def joined(self, device: str, stream: int, new: bool, link: str, at_ms: int) -> bool:
        """A device said HELLO on a link; True when it was away or on another link.

        `new`: with it the device's older streams are over.
        """
        known = self.devices.get(device)
        if known is None:
            known = self.devices[device] = Presence(device)
        if new:
            known.streams.clear()
        known.streams.add(stream)
        known.heard_ms = at_ms
        known.links += 1
        news = known.links == 1 or known.link != link
        if known.links == 1:
            known.since_ms = at_ms
        known.link = link
        return news

    def left(self, device: str, at_ms: int) -> bool:
        """One of its links is gone; True when that was the last."""
        known = self.devices[device]
        known.links -= 1
        if known.links == 0:
            known.since_ms = at_ms
        return known.links == 0

    def acknowledged(self, device: str, link: str, records: int, waited_ms: int, at_ms: int) -> str:
        """Its records came by this link and are durable -> the link that was thought to carry them until now."""
        known = self.devices[device]
        before, known.link = known.link, link
        known.heard_ms = at_ms
        known.records += records
        known.ack_ms = (3 * known.ack_ms + waited_ms) // 4 if known.ack_ms else waited_ms
        return before
