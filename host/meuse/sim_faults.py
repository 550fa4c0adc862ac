"""What a person does to virtual boards to see what they bear: pulls the cable, takes the network, cuts the power of
the board or its modem, sets the flue on fire.

Speaks with each board's simulated world through its control socket (firmware/sim), a JSON object a line.
"""

import asyncio
import contextlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any, Final

from meuse.errors import ConfigError

log = logging.getLogger(__name__)

# Fault -> what begins it and what ends it.
FAULTS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "cable": ({"do": "unplug"}, {"do": "replug"}),
    "network": ({"do": "network", "on": False}, {"do": "network", "on": True}),
    "power": ({"do": "off"}, {"do": "on"}),
    "modem": ({"do": "modem", "on": False}, {"do": "modem", "on": True}),
    "air": ({"do": "air", "on": False}, {"do": "air", "on": True}),
    "fire": ({"do": "fault", "name": "flue-hot", "on": True}, {"do": "fault", "name": "flue-hot", "on": None}),
}

ANSWER_S = 5.0


def check(names: list[str]) -> None:
    """ConfigError for a fault that nobody can play; such as cable+fire are two at once."""
    for name in "+".join(names).split("+"):
        if names and name not in FAULTS:
            raise ConfigError(f"no fault {name!r}", f"there are: {', '.join(FAULTS)}")


async def play(folders: list[Path], names: list[str], every_s: float) -> None:
    """For ever: one fault after the other, each for half of `every_s`, on all boards at once."""
    while names:
        for name in names:
            steps = [FAULTS[one] for one in name.split("+")]
            await asyncio.sleep(every_s / 2)
            await _tell(folders, name, [begin for begin, _ in steps])
            await asyncio.sleep(every_s / 2)
            await _tell(folders, name + " is over", [end for _, end in steps])


async def _tell(folders: list[Path], what: str, commands: list[dict[str, Any]]) -> None:
    log.info("fault: %s", what)
    for folder, command in itertools.product(folders, commands):
        # A board that is just starting has no ears yet; the next fault finds it.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                path = folder / "control"
                reader, writer = await asyncio.open_unix_connection(path.readlink() if path.is_symlink() else path)
                writer.write(json.dumps(command).encode() + b"\n")
                await reader.readline()
                writer.close()
                await writer.wait_closed()
