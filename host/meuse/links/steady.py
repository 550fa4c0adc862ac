"""Connected to a broker whenever that can be: pauses that grow, and one word when it goes and one when it is back."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from meuse.links.broker import REFUSES

# However a broker is away, it is said once.
AWAY = "away"

# Between two attempts: half to all of 0.5, 1, 2 ... 30 s.
FIRST_S = 0.5
LONGEST_S = 30.0


class Steady:
    """`run(serve)` for ever; `serve` is one connection, calls `connected`, and gives the reason why it ended."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name = name
        self._log = log
        self._said = ""  # what is wrong with the broker, said once

    async def run(self, serve: Callable[[], Awaitable[str]]) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            since = asyncio.get_running_loop().time()
            why = await serve()
            if asyncio.get_running_loop().time() - since > LONGEST_S:
                failures = 0
            pause_s = min(FIRST_S * 2**failures, LONGEST_S)
            failures = min(failures + 1, 16)
            state = why if why.startswith(REFUSES) else AWAY
            if self._said != state:
                self._said = state
                self._log.warning("%s: %s; trying again", self._name, why)
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))

    def connected(self) -> None:
        """The broker has answered."""
        if self._said:
            self._log.warning("%s: connected again", self._name)
        else:
            self._log.info("%s: connected", self._name)
        self._said = ""
