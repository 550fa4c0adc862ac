"""Which records are published: each is done when the broker has acknowledged all its messages, in order."""

from collections import deque


class Entry:
    """One record (or event) on its way; `left`: messages that are not acknowledged yet."""

    __slots__ = ("id", "left")

    def __init__(self, id: int, left: int) -> None:
        self.id = id
        self.left = left


class Lane:
    """Ids in the order in which they are published, from behind the last that is done."""

    def __init__(self, done: int = 0) -> None:
        self.done = done  # this one, and all of this lane before it
        self.read = done  # as far as the journal was read
        self._under_way: deque[Entry] = deque()

    def add(self, id: int, messages: int) -> Entry:
        """The next record has so many messages, perhaps none."""
        entry = Entry(id, messages)
        self._under_way.append(entry)
        self.read = id
        return entry

    def settle(self) -> list[int]:
        """The ids that are done since the last time, in order."""
        settled = []
        while self._under_way and self._under_way[0].left == 0:
            settled.append(self._under_way.popleft().id)
        if settled:
            self.done = settled[-1]
        return settled

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    def restart(self, at: int | None = None) -> None:
        """What was under way is read again, or all from behind `at`; a late acknowledgement of it counts for nobody."""
        self._under_way.clear()
        self.done = self.done if at is None else at
        self.read = self.done
