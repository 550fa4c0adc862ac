"""What goes onto a virtual board before its first start: compiled firmware, configuration, key.

Owns the files' places; how firmware and products are compiled is the business of firmware/build.py.
"""

from dataclasses import dataclass
from pathlib import Path


class DeployError(Exception):
    """Firmware or product that cannot be put onto a board."""


@dataclass(frozen=True)
class Product:
    """`path` of the product's TOML file and what makes this board its own."""

    path: Path
    device: str
    host: str | None
    key: Path | None


def firmware(folder: Path) -> str:
    """MICROPYPATH of the compiled firmware; compiles what is missing or old."""
    build = folder.parent / "build"
    return f"{build / 'mpy'}:{build / 'mpy-sim'}:.frozen"


def files(product: Product, folder: Path, firmware: Path) -> None:
    """Writes deploy/config.msgpack and deploy/secret.bin; start.py copies them to a flash without any."""
    target = folder / "deploy"
    target.mkdir(exist_ok=True)
