"""The world's time: a scenario plays at `speed` times real time, the board's own clock does not.

Owns the one translation between the two; it goes on where it was when the world is started again.
"""

import time


class WorldClock:
    """`began` is the real time (s since 1970) at which the scenario's second 0 was."""

    def __init__(self, began: float, speed: float) -> None:
        self.began = began
        self.speed = speed

    def real_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady_s(self) -> float:
        """Real seconds on a clock that nobody sets: for conversion times and time-outs."""
        return time.monotonic()

    def scenario_s(self) -> float:
        """Seconds since the scenario began, as the world lives them."""
        return (time.time() - self.began) * self.speed
