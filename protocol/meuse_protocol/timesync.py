"""From TIMEQ and TIME to the offset between a board's uptime and UTC. Integers in ms only; refuses to set any clock.

The board keeps t1 (uptime when TIMEQ left) and t4 (uptime when TIME came); the host gives t2 (UTC when TIMEQ came) and
hold (how long it kept the answer back). Then offset = t2 - (t1 + t4 - hold) / 2, wrong by at most half the round trip.
"""

SAMPLES = 8  # the best of the last eight is believed: queues only ever add delay
DRIFT_PPM_INVERSE = 20000  # a crystal is taken to be off by 50 ppm: 1 ms in 20 s
ROUNDING_MS = 1  # three integer times


class TimeSync:
    """The best known offset; `offset_ms` is None until the first answer."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, int, int]] = []  # (offset, error, uptime), newest last
        self._told: tuple[int, int, int] | None = None  # what the last anchor said
        self.offset_ms: int | None = None  # UTC minus uptime
        self.err_ms = 0

    def answer(self, t1_ms: int, t2_utc_ms: int, hold_ms: int, t4_ms: int) -> bool:
        """One exchange. False when it cannot be true (the host held it longer than it was away)."""
        round_trip_ms = t4_ms - t1_ms - hold_ms
        if hold_ms < 0 or round_trip_ms < 0:
            return False
        offset = t2_utc_ms - (t1_ms + t4_ms - hold_ms) // 2
        new = (offset, (round_trip_ms + 1) // 2 + ROUNDING_MS, t4_ms)
        best = self._best(t4_ms)
        if best and abs(best[0] - offset) > best[1] + new[1]:
            self._samples = []  # the two cannot both be right: the host's clock was set, believe the new one
        self._samples = self._samples[1 - SAMPLES :] + [new]
        self.offset_ms, self.err_ms = self._best(t4_ms) or new[:2]
        return True

    def anchor(self, now_ms: int) -> "tuple[int, int, int] | None":
        """(uptime_ms, utc_ms, err_ms) when it deserves a record: first sync, error halved, or the clock moved."""
        if self.offset_ms is None:
            return None
        if self._told:
            offset, err, at_ms = self._told
            moved = abs(self.offset_ms - offset) > err + self.err_ms
            if not moved and self.err_ms * 2 > err:
                return None
        self._told = (self.offset_ms, self.err_ms, now_ms)
        return (now_ms, now_ms + self.offset_ms, self.err_ms)

    def _best(self, now_ms: int) -> "tuple[int, int] | None":
        """(offset, error) of the sample with the smallest error, each grown by what the crystal drifts."""
        best = None
        for offset, err, at_ms in self._samples:
            err += (now_ms - at_ms) // DRIFT_PPM_INVERSE
            if best is None or err <= best[1]:
                best = (offset, err)
        return best
