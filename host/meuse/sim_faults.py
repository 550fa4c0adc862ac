"""What a person does to virtual boards to see what they bear: pulls the cable, takes the network, cuts the power.

Speaks with each board's simulated world through its control socket (firmware/sim), a JSON object a line.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from meuse.errors import ConfigError

log = logging.getLogger(__name__)

# Fault -> what begins it and what ends it.
FAULTS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "cable": ({"do": "unplug"}, {"do": "replug"}),
    "network": ({"do": "network", "on": False}, {"do": "network", "on": True}),
    "power": ({"do": "off"}, {"do": "on"}),
}

ANSWER_S = 5.0


def check(names: Iterable[str]) -> None:
    """ConfigError for a fault that nobody can play."""
    for name in names:
        if name not in FAULTS:
            raise ConfigError(f"no fault {name!r}", f"there are: {', '.join(FAULTS)}")


async def play(folders: list[Path], names: list[str], every_s: float) -> None:
    """For ever: one fault after the other, each for half of `every_s`, on all boards at once."""
    while names:
        for name in names:
            begin, end = FAULTS[name]
            await asyncio.sleep(every_s / 2)
            await _tell(folders, name, begin)
            await asyncio.sleep(every_s / 2)
            await _tell(folders, name + " is back", end)


async def _tell(folders: list[Path], what: str, command: dict[str, Any]) -> None:
    log.info("fault: %s", what)
    for folder in folders:
        # A board that is just starting has no ears yet; the next fault finds it.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                path = folder / "control"
                reader, writer = await asyncio.open_unix_connection(path.readlink() if path.is_symlink() else path)
                writer.write(json.dumps(command).encode() + b"\n")
                await reader.readline()
                writer.close()
                await writer.wait_closed()
