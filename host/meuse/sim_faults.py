"""What a person does to virtual boards to see what they bear: pulls the cable, takes the network, cuts the power of
the board or its modem, sets the flue on fire.

Speaks with each board's simulated world through its control socket (firmware/sim), a JSON object a line.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from meuse.errors import ConfigError
from meuse.sim import Board

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


def check(names: Iterable[str], boards: list[Board]) -> None:
    """ConfigError for a fault that none of these boards can play; such as cable+fire are two at once."""
    known = [*FAULTS, *(name for board in boards for name in _of_scenario(board))]
    for name in "+".join(names).split("+"):
        if name and name not in known:
            raise ConfigError(f"no fault {name!r}", f"there are: {', '.join(known)}")


def _of_scenario(board: Board) -> list[str]:
    """The names of its [[fault]] tables; what else stands there is the simulator's to check."""
    with board.scenario.open("rb") as f:
        faults = tomllib.load(f).get("fault", [])
    return [str(fault.get("name", f"{fault.get('target')}-{fault.get('kind')}")) for fault in faults]


def commands(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What begins a fault and what ends it."""
    other = {"do": "fault", "name": name}
    return FAULTS.get(name, ({**other, "on": True}, {**other, "on": False}))


def switch(board: Board, name: str, on: bool) -> bool:
    """Tells a board that runs; whether it heard, and had such a thing."""
    begin, end = commands(name)

    async def tell() -> bool:
        async with asyncio.timeout(ANSWER_S):
            answer: dict[str, Any] = json.loads(await _ask(board.folder, begin if on else end))
            return bool(answer["ok"])

    try:
        heard = asyncio.run(tell())
    except (OSError, TimeoutError):
        heard = False
    print(f"{board.device}: {name} {'begins' if on else 'is over'}" if heard else f"{board.device}: does not run")
    return heard


async def play(folders: list[Path], names: list[str], every_s: float) -> None:
    """For ever: one fault after the other, each for half of `every_s`, on all boards at once."""
    while names:
        for name in names:
            steps = [commands(one) for one in name.split("+")]
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
                await _ask(folder, command)


async def _ask(folder: Path, command: dict[str, Any]) -> bytes:
    path = folder / "control"
    reader, writer = await asyncio.open_unix_connection(path.readlink() if path.is_symlink() else path)
    try:
        writer.write(json.dumps(command).encode() + b"\n")
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
