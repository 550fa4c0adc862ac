"""How long a LoRa packet is on the air, and how much of an hour may be: integers, no clock.

Source: Semtech, SX1276/77/78/79 datasheet, rev. 7, 4.1.1.7; ETSI EN 300 220-2 for duty cycles, per hour.
"""

PREAMBLE_QUARTERS = 49  # 8 symbols and the 4.25 that every packet has
SLOW_SYMBOL_MS = 16
SLOT_MS = 300_000
SLOTS = 13  # of 5 minutes: an hour, and the one that has begun


def air_ms(size: int, sf: int, bandwidth_khz: int, coding: int) -> int:
    """Of a packet of `size` bytes with header and CRC; ms, rounded up. coding: 5 .. 8."""
    slow = 2 if (1 << sf) > SLOW_SYMBOL_MS * bandwidth_khz else 0
    bits = 8 * size - 4 * sf + 28 + 16
    symbols = 8 + max(-(-bits // (4 * (sf - slow))), 0) * coding
    return -(-((PREAMBLE_QUARTERS + 4 * symbols) << sf) // (4 * bandwidth_khz))


def usual_bytes(sf: int) -> int:
    """The longest packet unless somebody says otherwise: as in LoRaWAN, fast and slow."""
    return 222 if sf < 10 else 51


class DutyCycle:
    """What was sent counts until its slot is an hour old, so no hour ever has more than its share.

    The first half of the share is for whoever has something to say; from then on each packet is followed by so much
    silence that the other half lasts for the hour: a backlog leaves room for what is measured now."""

    def __init__(self, permille: int):
        self._permille = permille
        self._slots = [0] * SLOTS
        self._slot = 0
        self._free_ms = 0

    def room(self, now: int, ms: int) -> bool:
        """May a packet of so many ms go now?"""
        return now >= self._free_ms and self.used_ms(now) + ms <= 3600 * self._permille

    def spend(self, now: int, ms: int) -> None:
        used_ms = self.used_ms(now) + ms
        self._slots[self._slot % SLOTS] += ms
        if used_ms * 2 > 3600 * self._permille:
            self._free_ms = now + ms * 2000 // self._permille

    def used_ms(self, now: int) -> int:
        """On the air within the last hour: at least this, at most 5 minutes' more."""
        slot = now // SLOT_MS
        self._slot = max(self._slot, slot - SLOTS)
        while self._slot < slot:
            self._slot += 1
            self._slots[self._slot % SLOTS] = 0
        return sum(self._slots)
