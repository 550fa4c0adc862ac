"""Thousands of light boards against one host that runs as a process: their keys, their coming, what each costs it."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from meuse.keys import FOLDER, KEY_BYTES, SUFFIX

from tests.host.light_board import LightBoard, until

AT_ONCE = 200


def provisioned(data: Path, boards: int) -> dict[str, bytes]:
    """Keys as the host's own command makes them, but for the wait for the disk after each of thousands."""
    folder = data / FOLDER
    folder.mkdir(parents=True)
    keys = {f"light-{number}": secrets.token_bytes(KEY_BYTES) for number in range(boards)}
    for device, key in keys.items():
        path = folder / (device + SUFFIX)
        path.touch(mode=0o600)
        path.write_text(key.hex() + "\n")
    return keys


def resident_bytes(pid: int) -> int:
    """Memory of that process that is in RAM now."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def drained(boards: Sequence[LightBoard], address: str) -> None:
    """All of them there and all they have stored; a few at a time, as boards come after a power cut."""
    for first in range(0, len(boards), AT_ONCE):
        some = boards[first : first + AT_ONCE]
        for board in some:
            await board.connect(address)
        await until(lambda some=some: all(b.acked == b.made for b in some), "they drain", 60)  # type: ignore[misc]
