"""What is to stand at the broker of readings, retained: newest values of each device, and what Home Assistant is told.

Owns `latest` and keeps the shelf in step with it; publishes nothing.
"""

from collections.abc import Callable

from meuse.catalog import Origin
from meuse.clock import Clock
from meuse.decode import Block
from meuse.topics import homeassistant
from meuse.topics.forms import Timed
from meuse.topics.latest import Latest
from meuse.topics.names import HOST, LATEST, ROOT
from meuse.topics.shelf import Shelf


class Standing:
    """`take` every block that is published; `put_latest` now and then, since ages and values change with each."""

    def __init__(self, shelf: Shelf, clock: Clock, discovery: str) -> None:
        """`discovery`: the prefix for Home Assistant, or empty."""
        self.latest = Latest()
        self._shelf = shelf
        self._clock = clock
        self._discovery = discovery
        self._news: set[str] = set()  # devices whose newest values changed
        self._announced: set[tuple[str, str]] = set()
        for payload in shelf.standing(f"/{LATEST}").values():
            self.latest.restore(payload)
        for topic in shelf.topics():
            if not topic.startswith((f"{ROOT}/", f"{discovery}/")):
                shelf.clear(topic)  # announced under a prefix that is not wanted any more

    @property
    def news(self) -> bool:
        """Newest values have changed since they were put."""
        return bool(self._news)

    def take(self, block: Block, when: Timed, origin: Origin) -> None:
        if self.latest.take(block, when, origin):
            self._news.add(origin.device)
        if self._discovery:
            self._announce(block, origin)

    def put_latest(self) -> None:
        """On the shelf, to be published."""
        for device in self._news:
            self._shelf.put(*self.latest.message(device, self._clock.utc_ms()))
        self._news.clear()

    def put_right(self, origin_of: Callable[[str], Origin]) -> set[str]:
        """Clears what stands under names that no device has now -> whose they were."""
        moved = set()
        for topic in self._shelf.topics():
            origin = _origin_in(topic)
            if origin is not None and origin_of(origin.device) != origin:
                self._shelf.clear(topic)
                moved.add(origin.device)
        for device in moved:
            if self.latest.move(origin_of(device)):
                self._news.add(device)
        self._announced = {one for one in self._announced if one[0] not in moved}
        return moved

    def _announce(self, block: Block, origin: Origin) -> None:
        for channel, unit, _, flags in block.channels:
            if (origin.device, channel) not in self._announced:
                self._announced.add((origin.device, channel))
                self._shelf.put(*homeassistant.message(self._discovery, origin, channel, unit, flags))


def _origin_in(topic: str) -> Origin | None:
    """Of `meuse/<tenant>/<site>/<device>/...`; None for what is no device's."""
    parts = topic.split("/")
    if len(parts) < 5 or parts[0] != ROOT or topic.startswith(f"{HOST}/"):
        return None
    return Origin(device=parts[3], tenant=parts[1], site=parts[2])
