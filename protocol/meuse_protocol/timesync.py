"""From TIMEQ and TIME to the offset between a board's uptime and UTC. Sets no clock.

The board keeps t1 (uptime when TIMEQ left) and t4 (uptime when TIME came); the host tells t2 (UTC
when TIMEQ came) and hold (how long it kept the answer). Then offset = t2 - (t1 + t4 - hold) / 2,
wrong by at most half the round trip. All integers, in ms: a board's float cannot hold them.
"""

SAMPLES = 8  # the best of so many counts: a queue on the way only ever adds delay
DRIFT_MS = 20000  # a crystal is taken to be off by 50 ppm: 1 ms in so many
ROUNDING_MS = 1  # three integer times


class TimeSync:
    """The best known offset; `offset_ms` is None until the first answer."""

    def __init__(self) -> None:
        self._samples: list[tuple[int, int, int]] = []  # (offset, error, uptime), newest last
        self._told: tuple[int, int] | None = None  # what the last anchor said
        self.offset_ms: int | None = None  # UTC minus uptime
        self.err_ms = 0

    def answer(self, t1_ms: int, t2_utc_ms: int, hold_ms: int, t4_ms: int) -> bool:
        """One exchange. False when it cannot be true: held for longer than it was away."""
        trip_ms = t4_ms - t1_ms - hold_ms
        if hold_ms < 0 or trip_ms < 0:
            return False
        offset = t2_utc_ms - (t1_ms + t4_ms - hold_ms) // 2
        new = (offset, (trip_ms + 1) // 2 + ROUNDING_MS, t4_ms)
        best = self._best(t4_ms, new)
        if abs(best[0] - offset) > best[1] + new[1]:
            self._samples = []  # both cannot be right: the host's clock was set
        self._samples = self._samples[1 - SAMPLES :] + [new]
        self.offset_ms, self.err_ms = self._best(t4_ms, new)
        return True

    def anchor(self, now_ms: int) -> "tuple[int, int, int] | None":
        """(uptime_ms, utc_ms, err_ms) when it deserves a record, else None.

        It does at the first sync, when the error has halved, and when the clock has moved.
        """
        offset = self.offset_ms
        if offset is None:
            return None
        if self._told:
            moved = abs(offset - self._told[0]) > self._told[1] + self.err_ms
            if not moved and self.err_ms * 2 > self._told[1]:
                return None
        self._told = (offset, self.err_ms)
        return (now_ms, now_ms + offset, self.err_ms)

    def _best(self, now_ms: int, new: "tuple[int, int, int]") -> "tuple[int, int]":
        """(offset, error) with the smallest error, each grown by what the crystal may drift."""
        best = new[:2]
        for offset, err, at_ms in self._samples:
            err += (now_ms - at_ms) // DRIFT_MS
            if err < best[1]:
                best = (offset, err)
        return best
