"""What is broken at a moment: by the scenario's time windows, or switched by hand while it plays."""

from dataclasses import dataclass

from .clock import WorldClock


@dataclass(frozen=True)
class Fault:
    """`kind` happens to `target` (a device or a channel) from `from_s` to `to_s` of the scenario."""

    name: str
    target: str
    kind: str
    from_s: float
    to_s: float


class Faults:
    """Asked by the models at each operation; a switch by hand beats the window until it is taken back."""

    def __init__(self, faults: list[Fault], clock: WorldClock) -> None:
        self._faults = faults
        self._clock = clock
        self._by_hand: dict[str, bool] = {}

    @property
    def names(self) -> list[str]:
        return [f.name for f in self._faults]

    def switch(self, name: str, on: bool | None) -> None:
        """On or off by hand; None gives it back to its window. KeyError for a name the scenario does not have."""
        if name not in self.names:
            raise KeyError(name)
        if on is None:
            self._by_hand.pop(name, None)
        else:
            self._by_hand[name] = on

    def active(self, target: str, kind: str) -> bool:
        return any(f.target == target and f.kind == kind and self._on(f) for f in self._faults)

    def active_names(self) -> list[str]:
        return [f.name for f in self._faults if self._on(f)]

    def _on(self, fault: Fault) -> bool:
        window = fault.from_s <= self._clock.scenario_s() < fault.to_s
        return self._by_hand.get(fault.name, window)
