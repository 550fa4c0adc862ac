"""What goes onto a virtual board before it starts: compiled firmware, configuration, key.

Owns the files' places; how firmware and products are compiled is the business of firmware/build.py and
firmware/product.py.
"""

import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

KEY_BYTES = 32


class DeployError(Exception):
    """Firmware, product or key that cannot be put onto a board."""


@dataclass(frozen=True)
class Board:
    """`product`: its TOML file; `key`: file of 32 bytes or 64 hexadecimal digits, None for a board without."""

    product: Path
    device: str
    host: str
    key: Path | None
    links: tuple[str, ...] = ()  # kinds that stand in for the product's own
    pace: int = 1  # the world's seconds per real second, for an application that controls it


def firmware(folder: Path) -> tuple[str, Path]:
    """MICROPYPATH of the first module and the image of the firmware; compiles what is missing or old."""
    build = folder.parent / "build"
    made = subprocess.run([sys.executable, str(folder / "build.py")], capture_output=True, text=True)
    if made.returncode:
        raise DeployError(made.stderr.strip())
    return f"{build / 'mpy-sim'}:.frozen", build / "sim.romfs"


def files(board: Board, flash: Path, target: Path, folder: Path) -> None:
    """Puts config.msgpack and secret.bin into `target` for a flash that has not got them, or others: deploying the
    same again changes nothing, not even what was set on the board since."""
    sys.path[:0] = [str(folder), str(folder.parent / "protocol")]
    product = importlib.import_module("product")
    target.mkdir(exist_ok=True)
    try:
        config = product.compile_product(board.product, board.host, board.links, board.key is not None, board.pace)
    except product.ProductError as e:
        raise DeployError(str(e)) from None
    secret = product.secret(board.device, _key(board.key) if board.key else None)
    for name, content in (("config.msgpack", config), ("secret.bin", secret)):
        there = target / name
        if not flash.exists() or not there.exists() or there.read_bytes() != content:
            new = target / f"{name}.new"
            new.touch(mode=0o600)
            new.write_bytes(content)


def _key(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        key = data if len(data) == KEY_BYTES else bytes.fromhex(data.decode("ascii"))
    except (OSError, ValueError) as e:
        raise DeployError(f"{path}: no key: {e}") from None
    if len(key) != KEY_BYTES:
        raise DeployError(f"{path}: a key has {KEY_BYTES} bytes or {2 * KEY_BYTES} hexadecimal digits")
    return key
