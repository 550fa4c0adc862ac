"""The simulated meter as a witness: what it says it served is what a board could have counted."""

import asyncio
import contextlib
import sys
import time
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "firmware/sim")]

from world.buses import RISING, Pins  # noqa: E402
from world.clock import WorldClock  # noqa: E402
from world.devices.pulse import Meter, PulseContact  # noqa: E402
from world.served import Served  # noqa: E402

PIN = 18
METER = Meter("water", 0, Fraction(1), Fraction(0), (Fraction(36000),) * 24)  # ten pulses a second


def test_the_contact_rests_until_the_board_has_said_what_it_counts_from(tmp_path: Path) -> None:
    """A pulse between the arming of the board's interrupt and that word would be counted by one of the two only.

    The bench's boards say it before, the firmware after.
    """

    served = Served(tmp_path / "served.jsonl", "board")

    async def life() -> None:
        edges: list[int] = []
        pins = Pins(lambda pin, level, times: edges.extend([level] * times))
        contact = PulseContact(PIN, METER, WorldClock(time.time(), 1.0), served, lambda _: False)
        contact.attach(pins)
        playing = asyncio.create_task(contact.play(pins, lambda: True))
        for kept, order in ((40, 1), (41, -1)):
            edges.clear()
            first, then = [lambda: pins.arm(PIN, RISING), lambda kept=kept: contact.board_started(kept)][::order]
            first()
            counted = contact.counted
            await asyncio.sleep(0.4)
            assert not edges and contact.counted == counted
            then()
            await asyncio.sleep(0.5)
            assert contact.counted == kept + len(edges) > kept
            pins.forget_board()
            contact.board_stopped()
            await asyncio.sleep(0.1)  # a board takes longer to boot than a pulse under way to end
        playing.cancel()

    with contextlib.closing(served):
        asyncio.run(life())
