"""The retained messages as they should stand at the broker. A broker that forgets them is given all of them again."""

from collections.abc import Iterable, Iterator
from itertools import islice


class Shelf:
    """topic -> payload. An empty payload, as the broker understands it: nothing is to stand there any more."""

    def __init__(self, standing: dict[str, bytes]) -> None:
        self._standing = dict(standing)
        self._due: dict[str, None] = dict.fromkeys(standing)
        self._named = set(standing)  # written down: whatever happens, somebody will know that it stands there
        self._unsaved: set[str] = set()
        self._passing: set[str] = set()

    def put(self, topic: str, payload: bytes) -> None:
        """To be published, unless it stands there already."""
        if self._standing.get(topic) != payload:
            self._standing[topic] = payload
            self._due[topic] = None
            self._unsaved.add(topic)

    def clear(self, topic: str) -> None:
        if topic in self._standing:
            self.put(topic, b"")

    def pass_by(self, topic: str, payload: bytes) -> None:
        """To be published, and cleared as soon as the broker has had it."""
        self._passing.add(topic)
        self.put(topic, payload)

    def standing(self, part: str) -> dict[str, bytes]:
        """All whose topic has this part, and which are not cleared."""
        return {topic: payload for topic, payload in self._standing.items() if part in topic and payload}

    def topics(self) -> list[str]:
        return list(self._standing)

    @property
    def due(self) -> bool:
        return bool(self._due)

    def again(self) -> None:
        """A new connection: who knows what the broker still has."""
        self._due = dict.fromkeys(self._standing)

    def unnamed(self, most: int) -> dict[str, bytes]:
        """What is not written down of that which is to be published next; `take` gives it once it is `named`."""
        return {topic: self._standing[topic] for topic in islice(self._due, most) if topic not in self._named}

    def named(self, topics: Iterable[str]) -> None:
        self._named.update(topics)

    def take(self, most: int) -> Iterator[tuple[str, bytes]]:
        """What is to be published, the one that waits longest first; taken off as it is asked for."""
        while self._due and most > 0:
            topic = next(iter(self._due))
            if topic not in self._named:
                return
            del self._due[topic]
            most -= 1
            yield topic, self._standing[topic]

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The broker has it: what is cleared need not be remembered."""
        if payload and topic in self._passing and self._standing.get(topic) == payload:
            self._passing.remove(topic)
            self.clear(topic)
        if not payload and self._standing.get(topic) == b"":
            del self._standing[topic]
            self._named.discard(topic)
            self._unsaved.add(topic)

    def unsaved(self, but: str = "") -> list[tuple[str, bytes | None]]:
        """What changed since the last time, but for topics that end so; None: not there any more."""
        topics = [topic for topic in self._unsaved if not (but and topic.endswith(but))]
        self._unsaved.difference_update(topics)
        return [(topic, self._standing.get(topic)) for topic in topics]

    def not_saved(self, changed: list[tuple[str, bytes | None]]) -> None:
        """It could not be written: next time."""
        self._unsaved.update(topic for topic, _ in changed)
